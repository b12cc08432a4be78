"""One norm over all parameters."""

from types import SimpleNamespace

import pytest
import torch

from mmf_bridge.common.clipping import clip_gradients, largest_norm


def training(**changes):
    keys = {"clip_gradients": True, "max_grad_l2_norm": 1.0, "clip_norm_mode": "all"}
    return SimpleNamespace(**{**keys, **changes})


@pytest.fixture
def model():
    model = torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False), torch.nn.Linear(1, 1))
    model[0].weight.grad = torch.tensor([[3.0, 0.0]])
    model[1].weight.grad = torch.tensor([[4.0]])  # its bias has no gradient
    return model


def test_gradients_keep_their_direction(model):
    norm = clip_gradients(model, None, 1.0)
    assert norm.item() == pytest.approx(5.0)
    torch.testing.assert_close(model[0].weight.grad, torch.tensor([[0.6, 0.0]]))
    torch.testing.assert_close(model[1].weight.grad, torch.tensor([[0.8]]))


def test_smaller_gradients_stay(model):
    clip_gradients(model, None, 6.0)
    assert model[1].weight.grad.item() == 4.0


def test_on_and_off():
    assert largest_norm(training()) == 1.0
    assert largest_norm(training(clip_gradients=False)) is None


def test_an_optimizer_that_shards_clips_itself(model):
    sharded = SimpleNamespace(clip_grad_norm=lambda norm: torch.tensor(10 * norm))
    assert clip_gradients(model, sharded, 1.0).item() == 10.0
    assert model[1].weight.grad.item() == 4.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_grad_l2_norm": None}, r"max_grad_l2_norm is null: give the largest norm"),
        ({"clip_norm_mode": "question"}, r"clip_norm_mode is 'question': mmf_bridge knows 'all'"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        largest_norm(training(**changes))
