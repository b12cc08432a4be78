"""The losses of a training's log, on whichever line of MMF is installed."""

import re

import pytest

from tests.bridge.main.conftest import mmf  # noqa: F401 (a fixture)
from tests.bridge.runs import run_here


def test_a_line_shows_the_mean_since_the_last_line(tmp_path, monkeypatch):
    from mmf_bridge.common.training_meter import TrainingMeter

    losses, stock = [], TrainingMeter.add

    def add(self, report):
        losses.extend(float(loss.detach().mean()) for loss in report.losses.values())
        stock(self, report)

    monkeypatch.setattr(TrainingMeter, "add", add)
    opts = ("run_type=train", "training.max_updates=9", "training.log_interval=3")
    few = ("training.evaluation_interval=100", "training.update_frequency=2")
    run = run_here(tmp_path, *opts, *few, changes={"dataset_config.tiny.sizes.train": 16})
    log = next(tmp_path.rglob("train*log")).read_text()
    shown = [float(value) for value in re.findall(r"train/total_loss: ([0-9.]+)", log)]
    # Every update has two batches of eight samples.
    assert len(losses) == 18
    means = [sum(losses[start : start + 6]) / 6 for start in (0, 6, 12)]
    assert shown == pytest.approx(means, abs=6e-5)
    assert len({f"{loss:.3f}" for loss in losses}) > 3  # of one value any line would be right
    assert run.trainer.meter.get_scalar_dict()["train/total_loss"] == pytest.approx(means[-1])


def test_accumulation_leaves_the_loss_of_the_log_as_it_is(tmp_path):
    """Stock main divides it by ``update_frequency``, as it does for the gradients."""
    opts = ("run_type=train", "optimizer.params.lr=0.0", "model_config.tiny.dropout=0.0")
    opts += ("training.evaluation_interval=100",)
    losses = []
    for frequency in (1, 2):
        few = (f"training.update_frequency={frequency}", f"training.log_interval={2 // frequency}")
        run = run_here(
            tmp_path / str(frequency),
            *(*opts, *few, f"training.max_updates={2 // frequency}"),
            changes={"dataset_config.tiny.sizes.train": 16},
        )
        losses += re.findall(r"train/total_loss: ([0-9.]+)", run.log())
    assert len(losses) == 2 and losses[0] == losses[1]
