import pytest
import torch

from moenas.models.builder import build_model
from moenas.models.routing import record_routing
from moenas.training.distillation import DistillationStep
from moenas.training.graphs import GraphedStep, graphed
from moenas.training.optimizer import make_optimizer
from moenas.training.sandwich import SandwichStep
from moenas.training.schemes import MOBILEVITV2 as SCHEME
from moenas.training.step import Batch, plain_step

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def model(experts=3):
    torch.manual_seed(0)
    return build_model("mobilevitv2_050", (experts,) * 9).to(memory_format=torch.channels_last)


def batches(device, count=6, sides=(64,)):
    g = torch.Generator().manual_seed(0)
    for number in range(count):
        side = sides[number % len(sides)]
        images, labels = torch.randn(8, 3, side, side, generator=g), torch.arange(8) % 2
        yield number, images.to(device, memory_format=torch.channels_last), labels.to(device)


def learn(step, net, device, **which):
    """Return each step's loss, and the tokens of each expert in each step; in bfloat16."""
    net = net.to(device).train()
    net.forward = torch.autocast("cuda", torch.bfloat16)(net.forward)
    optimizer = make_optimizer(net, SCHEME)
    losses, counts = [], []
    with record_routing(net) as routings:
        for number, images, labels in batches(device, **which):
            batch = Batch(images, labels, routings, SCHEME, number)
            loss, routed = step(net, batch, torch.Tensor.backward)
            losses.append(loss)
            counts.append(torch.stack([r.counts for r in routed.values()]))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return torch.stack(losses).cpu(), torch.stack(counts).cpu()


def test_steps_in_which_the_host_chooses_are_left_alone():
    step = SandwichStep(model(), seed=0)
    assert graphed(step) is step


def test_recording_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("MOENAS_CUDA_GRAPHS", "0")
    assert graphed(plain_step) is plain_step


@needs_cuda
@pytest.mark.parametrize("sides", [(64,), (64, 96)])
def test_recorded_steps_compute_what_usual_ones_do(sides):
    usual, recorded = model(), model()
    step = graphed(plain_step)
    assert isinstance(step, GraphedStep)
    with torch.backends.cudnn.flags(enabled=True, deterministic=True):
        expected, _ = learn(plain_step, usual, "cuda", count=10, sides=sides)
        losses, counts = learn(step, recorded, "cuda", count=10, sides=sides)
    assert len(step._recorded) == len(sides)
    assert len(set(losses.tolist())) == 10  # each step's own, not the memory of the last
    torch.testing.assert_close(losses[:5], expected[:5], atol=0.02, rtol=0.02)
    assert (counts.sum(dim=2) > 0).all()


@needs_cuda
def test_a_teacher_is_recorded_too():
    teacher = model(1).eval().to("cuda")
    step = graphed(DistillationStep(teacher))
    losses, _ = learn(step, model(), "cuda")
    assert step._recorded
    assert torch.isfinite(losses).all()


@needs_cuda
def test_a_step_that_waits_for_the_device_is_computed_as_usual():
    def waits(net, batch, backward):
        loss, routed = plain_step(net, batch, backward)
        assert loss.item() > 0
        return loss, routed

    step = GraphedStep(waits)
    losses, _ = learn(step, model(), "cuda")
    assert not step._recorded
    expected, _ = learn(plain_step, model(), "cuda")
    torch.testing.assert_close(losses[:5], expected[:5], atol=0.02, rtol=0.02)
