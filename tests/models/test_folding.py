import copy

import pytest
import torch

from moenas.errors import ModelError
from moenas.models.builder import build_model
from moenas.models.convert import upcycle
from moenas.models.folding import fold_batch_norms
from moenas.models.storage import save_model


@pytest.fixture(scope="module")
def trained(dense):
    """A model with batch statistics and affine parameters that are not those of a fresh one."""
    model = copy.deepcopy(dense)
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return model


def test_folded_model_computes_the_same(trained, images):
    for model in (trained, upcycle(trained, (2,) * 9)):
        folded = fold_batch_norms(model)
        with torch.no_grad():
            expected = model(images)
            torch.testing.assert_close(folded(images), expected, atol=1e-5, rtol=1e-5)
        assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())


@pytest.mark.parametrize("name", ["densenet121", "resnetv2_18"])
def test_a_norm_before_its_convolution_is_not_folded_into_it(name):
    """These blocks normalise first: their norm1 is of conv1's input, and of another width."""
    model = build_model(name, seed=0).eval()
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        torch.testing.assert_close(
            fold_batch_norms(model)(images), model(images), atol=1e-5, rtol=1e-5
        )


def test_the_original_is_not_changed_and_the_copy_is_for_inference(trained):
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    folded = fold_batch_norms(copy.deepcopy(trained).train())
    assert not folded.training
    assert all(torch.equal(before[n], v) for n, v in trained.state_dict().items())


def test_statistics_matter(trained, dense, images):
    """Negative control: the fixture's statistics change the output."""
    with torch.no_grad():
        assert not torch.allclose(trained(images), dense(images), atol=1e-3)


def test_a_folded_model_is_not_saved(trained, tmp_path):
    with pytest.raises(ModelError, match="was changed after it was built"):
        save_model(tmp_path / "m.safetensors", fold_batch_norms(trained), image_size=64)
