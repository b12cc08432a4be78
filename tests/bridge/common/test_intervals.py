"""Intervals that follow the length of the run."""

import pytest
from omegaconf import OmegaConf

from mmf_bridge.common.run_length import KEYS, RunLength, set_intervals


def section(**changes):
    return OmegaConf.create({**dict.fromkeys(KEYS, "auto"), **changes})


@pytest.mark.parametrize(
    ("batches", "updates", "expected"),
    [
        (2, 6, (1, 2, 2)),
        (40, 200, (20, 40, 40)),
        (2000, 10_000, (100, 2000, 500)),
        (500, 4, (1, 500, 500)),  # not even an epoch: the last validation remains
    ],
)
def test_auto(batches, updates, expected):
    training = section(checkpoint_interval=None)
    OmegaConf.set_readonly(training, True)  # as MMF freezes it
    written = set_intervals(training, RunLength(batches, updates))
    assert tuple(training[key] for key in KEYS) == expected
    assert written == {**dict.fromkeys(KEYS, "auto"), "checkpoint_interval": None}
    lines = updates // training.log_interval
    assert lines >= min(10, updates)


def test_updates_of_several_batches():
    training = section()
    set_intervals(training, RunLength(26, 12, update_frequency=8, leftover_batches="carry"))
    assert training.evaluation_interval == 3


def test_numbers_stay():
    training = section(log_interval=7, evaluation_interval=30, checkpoint_interval=100)
    assert set_intervals(training, RunLength(None, 10)) == {}
    assert [training[key] for key in KEYS] == [7, 30, 100]


def test_an_epoch_without_a_length():
    with pytest.raises(ValueError, match=r"training\.evaluation_interval is auto.*no length"):
        set_intervals(section(), RunLength(None, 10))
