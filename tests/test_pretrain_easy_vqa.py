"""The script behind `make few`: what it trains, in which order, and its table."""

import io

import pytest
from rich.console import Console

from scripts import pretrain_easy_vqa as script


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """What was trained, in its order; each run's score is the number of those before it."""
    runs = []

    def train(yaml, name, *options, again, goes_on):
        assert not again and goes_on
        runs.append((yaml, name, options))
        return tmp_path

    monkeypatch.setattr(script, "train", train)
    monkeypatch.setattr(script, "figures", lambda folder: {"accuracy": 50.0 + len(runs)})
    return runs


def test_both_ways_have_the_same_questions(trained):
    assert script.accuracy(0.05, "from scratch", 2) == 51
    assert script.accuracy(0.05, "pre-trained", 2) == 53
    assert [run[:2] for run in trained] == [
        ("easy_vqa_few", "easy_vqa_few/from_scratch_0.05_2"),
        ("easy_vqa_pretrain", "easy_vqa_pretrain/2"),
        ("easy_vqa_few", "easy_vqa_few/pre-trained_0.05_2"),
    ]
    scratch, pretraining, tuned = (set(run[2]) for run in trained)
    assert tuned - scratch == {"model_config.clipvil.pretrained=save/easy_vqa_pretrain/2"}
    assert scratch == {
        *("training.seed=2", "dataset_config.easy_vqa.subset_seed=2"),
        "dataset_config.easy_vqa.subset=0.05",
    }
    assert pretraining == {"training.seed=2"}


def test_the_table():
    console = Console(width=120, record=True, file=io.StringIO())
    found = {(0.05, "from scratch"): [70.0, 74.0], (0.05, "pre-trained"): [80.0, 80.0]}
    script.show(found, [0.05], console)
    text = console.export_text()
    for part in ("5%", "72.00 ± 2.83", "80.00 ± 0.00", "+8.00"):
        assert part in text
