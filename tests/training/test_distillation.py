from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from moenas.data.dataset import normalise
from moenas.models.builder import build_model
from moenas.models.convert import upcycle
from moenas.models.routing import record_routing
from moenas.training.distillation import DistillationStep
from moenas.training.losses import imitation_loss, router_loss
from moenas.training.schemes import Scheme
from moenas.training.step import Batch


def test_the_imitation_loss_is_the_divergence_of_the_student_from_the_teacher() -> None:
    said, taught = torch.randn(5, 2, requires_grad=True), torch.randn(5, 2, requires_grad=True)
    p, q = taught.softmax(1), said.softmax(1)
    expected = (p * (p / q).log()).sum(1).mean()
    found = imitation_loss(said, taught)
    torch.testing.assert_close(found, expected)
    found.backward()  # type: ignore[no-untyped-call]
    assert taught.grad is None
    torch.testing.assert_close(said.grad, (q - p).detach() / 5)


def test_a_student_that_says_what_its_teacher_says_has_nothing_to_learn() -> None:
    logits = torch.randn(5, 2)
    assert float(imitation_loss(logits, logits + 3.0)) == pytest.approx(0.0, abs=1e-6)


def test_a_step_follows_the_teacher_and_not_the_labels(
    pictures: tuple[Any, Any], scheme: Scheme
) -> None:
    images = normalise(torch.from_numpy(pictures[0][:6]))
    teacher = build_model("mobilevitv2_050", seed=1).eval()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    gradients = []
    for labels in (torch.zeros(6, dtype=torch.long), torch.ones(6, dtype=torch.long)):
        student = upcycle(build_model("mobilevitv2_050", seed=2), (1, 1, 1, 3, 1, 1, 1, 1, 1))
        with record_routing(student) as routings:
            step = DistillationStep(teacher)
            batch = Batch(images, labels, routings, scheme, 0)
            loss, _ = step(student, batch, torch.Tensor.backward)
            said = student(images)  # batch norms are in training mode: the same statistics
            own = F.kl_div(said.log_softmax(1), teacher(images).softmax(1), reduction="batchmean")
            torch.testing.assert_close(
                loss, (own + router_loss(routings.values(), scheme)).detach()
            )
        gradients.append(student.get_parameter("stem.conv.weight").grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=0)
    for name, value in teacher.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
