"""Every hook of ``mmf_bridge.protocols``, by a plugin that has nothing but the method."""

import json

import pytest
import torch
from torch.utils.data import DistributedSampler

from mmf_bridge import protocols
from tests.bridge.runs import equal, run_here

SHORT = ("run_type=train", "training.max_updates=3")


@pytest.fixture
def tiny(monkeypatch):
    """Gives the tiny model or dataset a hook."""
    from tests.bridge.tiny_plugin import dataset, model

    def give(name, hook, to="model"):
        thing = {"model": model.Tiny, "dataset": dataset.TinyDataset}[to]
        monkeypatch.setattr(thing, name, hook, raising=False)

    return give


def test_a_model_without_hooks_fulfils_no_protocol(tmp_path):
    run = run_here(tmp_path, *SHORT)
    for name in ("AdaptsStateDict", "WritesFinal", "PreparesFromData", "CountsMultiplyAdds"):
        assert not isinstance(run.trainer.model, getattr(protocols, name))
    for dataset in run.trainer.train_loader.get_datasets():
        assert not isinstance(dataset, (protocols.Collates, protocols.BringsBatches))


def test_adapt_state_dict(tmp_path, tiny):
    """Also from safetensors files and folders."""
    from safetensors.torch import save_file

    state = run_here(tmp_path / "trained", *SHORT).checkpoint()["model"]
    folder, seen = tmp_path / "other", []
    folder.mkdir()
    save_file({f"other.{name}": w for name, w in state.items()}, folder / "model.safetensors")

    def adapt_state_dict(self, state, file):
        seen.append(file)
        return {name.removeprefix("other."): weight for name, weight in state.items()}

    tiny("adapt_state_dict", adapt_state_dict)
    start = ("training.max_updates=0", "run_type=train", "dataset_config.tiny.sizes.val=0")
    run = run_here(tmp_path / "new", *start, f"checkpoint.resume_file={folder}")
    assert equal(run.trainer.model.state_dict(), state)
    assert seen == [str(folder)]


def test_write_final(tmp_path, tiny):
    def write_final(self, folder):
        torch.save(self.state_dict(), f"{folder}/own.bin")

    tiny("write_final", write_final)
    run = run_here(tmp_path, "run_type=train", "training.max_updates=10")
    assert equal(run.checkpoint("own.bin"), run.checkpoint("best.ckpt")["model"])


def test_before_training(tmp_path, tiny):
    """It takes as many batches as it likes, and draws: the run is the same."""
    whole = run_here(tmp_path / "without", *SHORT)
    seen = []

    def before_training(self, batches):
        for batch in batches:
            seen.append((batch["x"].shape, batch["targets"].shape, self.training))
            torch.rand(5)
            if len(seen) == 2:
                return

    tiny("before_training", before_training)
    run = run_here(tmp_path / "with", *SHORT)
    assert seen == 2 * [((8, 8), (8,), True)]
    assert equal(whole.checkpoint()["model"], run.checkpoint()["model"])
    run_here(tmp_path / "with", "training.max_updates=5", "checkpoint.resume=true")
    assert len(seen) == 2


def test_multiply_adds(tmp_path, tiny):
    seen = []

    def multiply_adds(self, batch):
        seen.append(len(batch.pop("x")))  # of a copy
        return 24

    tiny("multiply_adds", multiply_adds)
    run_here(tmp_path / "counts", *SHORT)
    assert seen == [8]
    report = json.loads((tmp_path / "counts" / "run_report.json").read_text())
    assert report["multiply_adds"] == 24

    def fails(self, batch):
        raise KeyError("image")

    tiny("multiply_adds", fails)
    run_here(tmp_path / "fails", *SHORT)
    report = json.loads((tmp_path / "fails" / "run_report.json").read_text())
    assert report["multiply_adds"] is None and "KeyError" in report["failures"][0]


@pytest.mark.parametrize("mean", [True, False])
def test_mean_of_samples(tmp_path, monkeypatch, mean):
    from mmf.modules.metrics import Accuracy

    run = run_here(tmp_path, "run_type=val", "training.batch_size=4")
    whole, expected = run.trainer.evaluation_loop("val")
    monkeypatch.setattr(Accuracy, "mean_of_samples", mean, raising=False)
    report, meter = run.trainer.evaluation_loop("val")
    assert {"scores", "targets"} <= set(whole)
    assert ({"scores", "targets"} & set(report) == set()) is mean
    values = [float(m.meters["val/tiny/accuracy"].global_avg) for m in (meter, expected)]
    assert values[0] == pytest.approx(values[1])
    assert report.metrics.keys() == whole.metrics.keys() == {"val/tiny/accuracy"}


@pytest.mark.parametrize("workers", [0, 1])
def test_collate(tmp_path, tiny, workers):
    """``images`` has 5 rows whatever the number of questions."""
    from tests.bridge.tiny_plugin.dataset import TinyDataset

    tiny("collate", TinyDataset.collate_unique, to="dataset")
    run = run_here(tmp_path, *SHORT, f"training.num_workers={workers}")
    batch = next(iter(run.trainer.train_loader))
    moved = batch.to(torch.device("meta"))
    assert (len(moved["images"]), moved.get_batch_size()) == (5, 8)


def test_build_batch_sampler(tmp_path, tiny):
    """Batches of two neighbours, in an order of each epoch."""
    asked = []

    class Pairs:
        def __init__(self, length, rank, world_size, shuffle, seed):
            pairs = range(length // 2)
            self.order = DistributedSampler(pairs, world_size, rank, shuffle=shuffle, seed=seed)

        def set_epoch(self, epoch):
            self.order.set_epoch(epoch)

        def __iter__(self):
            return ([2 * pair, 2 * pair + 1] for pair in self.order)

        def __len__(self):
            return len(self.order)

    def build_batch_sampler(self, batch_size, shuffle, seed, rank, world_size):
        asked.append((self.split, batch_size, shuffle, seed, rank, world_size))
        return Pairs(len(self), rank, world_size, shuffle, seed)

    tiny("build_batch_sampler", build_batch_sampler, to="dataset")
    trace = f"dataset_config.tiny.trace={tmp_path / 'seen'}"
    run_here(tmp_path / "run", "run_type=train", "training.max_epochs=2", trace)
    assert asked[0] == ("train", 8, True, 1, 0, 1)
    assert {(split, shuffle) for split, _, shuffle, *_ in asked[1:]} == {
        ("val", False),
        ("test", False),
    }
    seen = [int(line) for line in (tmp_path / "seen-train").read_text().split()]
    first, second = seen[:52], seen[52:]
    assert sorted(first) == sorted(second) == list(range(52)) and first != second
    assert all(b == a + 1 for a, b in zip(seen[::2], seen[1::2], strict=True))
    # Interrupted in the second epoch, at update 30 of 52, the run goes on with the same batches.
    opts = ("run_type=train", "training.max_updates=52", "training.lr_scheduler=false")
    whole = run_here(tmp_path / "whole", *opts)
    run_here(tmp_path / "cut", *opts, "training.max_updates=30")
    again = run_here(tmp_path / "cut", *opts, "checkpoint.resume=true")
    assert equal(whole.checkpoint()["model"], again.checkpoint()["model"])
