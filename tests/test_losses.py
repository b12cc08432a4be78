"""The published scale of the loss."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmf.common.registry import registry
from torch.nn import functional as F

import clipvil_mmf
from clipvil_mmf.config import ConfigError
from clipvil_mmf.profiling.processes import _loss
from clipvil_mmf.tasks import build_task


def batch() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    return {"targets": torch.rand(4, 7)}, {"scores": torch.randn(4, 7)}


@pytest.mark.parametrize(("params", "factor"), [({}, 7), ({"loss_scale": 1}, 7)])
def test_one_stands_for_the_number_of_answers(params: dict[str, float], factor: int) -> None:
    clipvil_mmf.register()
    samples, output = batch()
    loss = registry.get_loss_class("clipvil_bce")(**params)(samples, output)
    mean = F.binary_cross_entropy_with_logits(output["scores"], samples["targets"])
    torch.testing.assert_close(loss, mean * factor)
    torch.testing.assert_close(loss, registry.get_loss_class("logit_bce")()(samples, output))


@pytest.mark.parametrize("scale", [500, 0.5])
def test_any_other_scale_is_the_factor(scale: float) -> None:
    clipvil_mmf.register()
    samples, output = batch()
    loss = registry.get_loss_class("clipvil_bce")(loss_scale=scale)(samples, output)
    mean = F.binary_cross_entropy_with_logits(output["scores"], samples["targets"])
    torch.testing.assert_close(loss, mean * scale)


@pytest.mark.parametrize("scale", [0, -1.0])
def test_a_scale_is_positive(scale: float) -> None:
    clipvil_mmf.register()
    with pytest.raises(ConfigError, match=r"loss_scale: got .*expected above 0"):
        registry.get_loss_class("clipvil_bce")(loss_scale=scale)


def test_half_precision_scores_are_scored_in_float32() -> None:
    clipvil_mmf.register()
    samples, output = batch()
    half = {"scores": output["scores"].bfloat16()}
    loss = registry.get_loss_class("clipvil_bce")(loss_scale=500)(samples, half)
    assert loss.dtype == torch.float32


def test_the_best_answer_alone() -> None:
    """--mceLoss of the published GQA."""
    clipvil_mmf.register()
    _, output = batch()
    targets = torch.zeros(4, 7)
    targets[0, 2], targets[1, 5], targets[1, 6], targets[3, 0] = 1.0, 0.3, 0.6, 1.0
    mean = F.cross_entropy(output["scores"][[0, 1, 3]], torch.tensor([2, 6, 0]))
    loss = registry.get_loss_class("clipvil_mce")
    for scale, factor in ((500, 7 * 500), (1, 7 * 7)):
        found = loss(loss_scale=scale)({"targets": targets}, output)
        torch.testing.assert_close(found, mean * factor)
    assert loss()({"targets": torch.zeros(4, 7)}, output) == 0
    with pytest.raises(ConfigError, match=r"clipvil_mce's params\.loss_scale: got 0"):
        loss(loss_scale=0)


@pytest.mark.parametrize("name", ["clipvil_bce", "logit_bce", "clipvil_mce"])
def test_a_profile_computes_the_loss_of_a_run(name: str) -> None:
    clipvil_mmf.register()
    samples, output = batch()
    params = {} if name == "logit_bce" else {"loss_scale": 3}
    expected = registry.get_loss_class(name)(**params)(samples, output)
    measured = _loss([{"type": name, "params": params}], build_task("gqa"))
    torch.testing.assert_close(measured(SimpleNamespace(**output), samples["targets"]), expected)


def test_cross_entropy_leaves_out_samples_without_a_class() -> None:
    clipvil_mmf.register()
    scores, targets = batch()[1]["scores"], torch.tensor([2, -1, 0, -1])
    function = registry.get_loss_class("clipvil_cross_entropy")()
    loss = function({"targets": targets}, {"scores": scores.half()})
    assert loss.dtype == torch.float32
    expected = F.cross_entropy(scores.half().float()[[0, 2]], targets[[0, 2]])
    torch.testing.assert_close(loss, expected)
    assert function({"targets": torch.full((4,), -1)}, {"scores": scores}) == 0


def test_the_loss_of_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    clipvil_mmf.register()
    samples, output = batch()
    monkeypatch.setitem(registry.mapping, "state", {"toy_task": build_task("vqa")})
    loss = registry.get_loss_class("clipvil_task")()({**samples, "dataset_name": "toy"}, output)
    torch.testing.assert_close(loss, registry.get_loss_class("logit_bce")()(samples, output))


def test_the_factor_of_cross_entropy_is_explicit() -> None:
    clipvil_mmf.register()
    scores, targets = batch()[1]["scores"], torch.tensor([2, -1, 0, 1])
    loss = registry.get_loss_class("clipvil_cross_entropy")
    arguments = {"targets": targets}, {"scores": scores}
    torch.testing.assert_close(loss(loss_scale=2)(*arguments), 2 * loss()(*arguments))
    with pytest.raises(ConfigError, match=r"clipvil_cross_entropy's params\.loss_scale: got 0"):
        loss(loss_scale=0)
