"""Training on MMF main: what a run keeps, and that it can be continued bit for bit."""

import json
import logging
import math
import multiprocessing
import re

import pytest
import torch
from omegaconf import OmegaConf

from tests.bridge.runs import equal, run_here, run_processes


def sizes(**splits):
    return {"dataset_config.tiny.sizes": {"train": 0, "val": 0, "test": 0, **splits}}


def test_a_run_of_only_training_keeps_its_last_updates(tmp_path):
    run = run_here(tmp_path, "run_type=train", "training.max_updates=13")
    report = json.loads((tmp_path / "run_report.json").read_text())
    assert report["updates"] == 13 and report["seconds"] > report["seconds_per_update"] > 0
    assert report["seconds_per_prediction"] > 0
    assert run.checkpoint()["num_updates"] == 13
    assert run.trainer.early_stopping.best_monitored_update in (10, 13)  # 13 was judged, too
    best = run.checkpoint("best.ckpt")["model"]
    final = torch.load(tmp_path / "tiny_final.pth", weights_only=True)
    assert equal(best, final)


def test_checkpoints_of_stock_schedulers_load_safely(tmp_path):
    run = run_here(
        tmp_path,
        "training.max_updates=10",
        "run_type=train",
        changes={"scheduler": {"type": "pythia"}},
    )
    assert run.checkpoint()["lr_scheduler"]["last_epoch"] == 10
    assert isinstance(run.checkpoint()["best_metric_value"], float)


@pytest.mark.parametrize(
    "opts",
    [(), ("dataset_config.tiny.augment=true",), ("dataset=tiny,tiny_two",)],
    ids=["plain", "augmented", "mixture"],
)
def test_a_killed_run_continues_bit_for_bit(tmp_path, opts):
    opts = (*opts, "training.max_updates=33")
    whole = run_processes(tmp_path / "whole", *opts)
    assert whole.exit_codes == [0], whole.output

    killed = tmp_path / "killed"
    trace = [*opts, f"dataset_config.tiny.trace={tmp_path}/seen"]
    first = run_processes(killed, *trace, kill_at=killed / "models" / "model_25.ckpt")
    assert first.exit_codes == [-9], first.output
    resumed = run_processes(killed, *opts, "checkpoint.resume=true")
    assert resumed.exit_codes == [0], resumed.output
    # 20 is that of best.ckpt; 30 if the signal came late.
    assert re.search("Checkpoint loaded: update (20|25|30)", resumed.output)
    for name in ("current.ckpt", "best.ckpt"):
        one, other = whole.checkpoint(name), resumed.checkpoint(name)
        for key in ("model", "optimizer", "lr_scheduler", "best_update", "current_epoch"):
            assert equal(one[key], other[key]), key
        assert one["rng_states"][0].keys() == other["rng_states"][0].keys()
        assert equal(one["rng_states"], other["rng_states"])


def test_resume_with_another_drawn_seed_keeps_the_order_of_the_epoch(tmp_path):
    first = run_here(tmp_path, "training.seed=-1", "training.max_updates=10")
    trace = tmp_path / "seen"
    again = run_here(
        tmp_path,
        "training.seed=-1",
        "training.max_updates=14",
        "checkpoint.resume=true",
        f"dataset_config.tiny.trace={trace}",
    )
    assert again.checkpoint()["sampler_seed"] == first.checkpoint()["sampler_seed"]
    # The second epoch, of 7 batches: what update 8 to 10 have not seen.
    sampler = again.trainer.train_loader.samplers["tiny"]
    sampler.set_epoch(2)
    expected = [index for batch in list(sampler)[3:] for index in batch]
    seen = [int(line) for line in (tmp_path / "seen-train").read_text().split()]
    assert seen == expected


def test_workers_can_persist_or_not_and_end_with_the_run(tmp_path):
    for flag, expected in (("true", True), ("false", False)):
        run = run_here(
            tmp_path / flag,
            "training.num_workers=1",
            f"training.persistent_workers={flag}",
            "training.max_updates=2",
            "run_type=train",
        )
        assert run.trainer.train_loader.first_loader.persistent_workers is expected
        assert not multiprocessing.active_children()


def test_a_second_run_in_one_process_starts_afresh(tmp_path):
    opts = ("training.max_updates=10", "run_type=train")
    first = run_here(tmp_path / "first", *opts)
    second = run_here(tmp_path / "second", *opts)
    assert equal(first.checkpoint()["model"], second.checkpoint()["model"])
    assert second.trainer.meter.meters["train/total_loss"].count == 2
    lines = (tmp_path / "second" / "train.log").read_text().splitlines()
    assert sum("Starting training..." in line for line in lines) == 1
    assert len(logging.getLogger("mmf").handlers) == 3


def test_intervals_follow_the_length_of_the_run(tmp_path, capfd):
    names = ("log_interval", "evaluation_interval", "checkpoint_interval")
    changes = {f"training.{name}": "auto" for name in names}
    opts = ("run_type=train", "training.max_epochs=3", "training.max_updates=null")
    run_here(tmp_path, *opts, changes={**changes, **sizes(train=56, val=8)})
    log = capfd.readouterr().out
    assert "training.log_interval 2, training.evaluation_interval 7" in log
    assert [int(n) for n in re.findall(r"progress: (\d+)/21, train", log)] == [*range(2, 21, 2)]
    assert [int(n) for n in re.findall(r"progress: (\d+)/21, val", log)] == [7, 14, 21]
    saved = OmegaConf.load(tmp_path / "config.yaml").training
    assert {saved[name] for name in names} == {"auto"}


def test_an_unknown_criterion_leaves_the_loss_or_is_refused(tmp_path, capfd):
    opts = ("run_type=train", "training.early_stop.criteria=vqa2/vqa_score")
    run = run_here(tmp_path, *opts, "training.max_updates=10")
    assert "best.ckpt will be that of the lowest val/total_loss" in capfd.readouterr().out
    assert run.trainer.early_stopping.best_monitored_update == 10
    with pytest.raises(ValueError, match=r"'val/vqa2/vqa_score'.*it gives: .*val/tiny/accuracy"):
        run_here(tmp_path / "stops", *opts, "training.early_stop.enabled=true")
    assert not list((tmp_path / "stops").rglob("*.ckpt"))


def test_early_stopping_counts_from_the_best_update_of_an_interrupted_run(tmp_path):
    opts = ("training.max_updates=10", "run_type=train")
    kept = run_here(tmp_path, *opts).checkpoint()
    again = run_here(tmp_path, *opts, "checkpoint.resume=true")
    assert again.trainer.early_stopping.best_monitored_update == kept["best_update"] == 10
    assert again.trainer.early_stopping.best_monitored_value == kept["best_metric_value"]


def test_a_stale_best_checkpoint_is_not_restored(tmp_path):
    run_here(tmp_path, "training.max_updates=10", "run_type=train")
    run = run_here(
        tmp_path,
        "training.max_updates=3",
        "run_type=train",
        "env.overwrite=true",
        changes=sizes(train=52),
    )
    assert not (tmp_path / "best.ckpt").exists()
    final = torch.load(tmp_path / "tiny_final.pth", weights_only=True)
    assert equal(final, run.checkpoint()["model"])


def test_accumulated_batches_are_one_update(tmp_path):
    """Two batches of 4 give the gradient of one of 8: the loss is a mean over them."""
    opts = (
        "training.max_updates=1",
        "run_type=train",
        "model_config.tiny.dropout=0.0",
        "model_config.tiny.norm=false",
        "training.clip_gradients=true",
        "training.max_grad_l2_norm=0.5",
        "optimizer.type=SGD",
    )
    one = run_here(tmp_path / "one", *opts, "training.batch_size=8", changes=sizes(train=8))
    two = run_here(
        tmp_path / "two",
        *opts,
        "training.batch_size=4",
        "training.update_frequency=2",
        changes=sizes(train=8),
    )
    assert two.trainer.num_updates == 1
    assert two.trainer.current_iteration == 2
    for name, weight in one.checkpoint()["model"].items():
        torch.testing.assert_close(two.checkpoint()["model"][name], weight)
    assert two.trainer._update_loss.item() == pytest.approx(one.trainer._update_loss.item())


@pytest.mark.parametrize(
    ("leftover", "updates", "batches"), [("step", 9, 21), ("carry", 6, 20), ("drop", 6, 18)]
)
def test_what_becomes_of_left_over_batches(tmp_path, leftover, updates, batches):
    """7 batches an epoch, 3 an update. What is carried to nowhere is not computed."""
    run = run_here(
        tmp_path,
        "run_type=train",
        "training.max_epochs=3",
        "training.update_frequency=3",
        f"training.leftover_batches={leftover}",
    )
    assert run.trainer.max_updates == run.trainer.num_updates == updates
    assert run.trainer.current_iteration == batches


@pytest.mark.parametrize("cut", [2, 3, 4])
def test_carried_gradients_are_neither_lost_nor_doubled_by_a_resume(tmp_path, cut):
    """An epoch's two updates have 3 batches; the third left over joins the next epoch's first."""
    opts = ("run_type=train", "training.update_frequency=3", "training.leftover_batches=carry")
    whole = run_here(tmp_path / "whole", *opts, "training.max_updates=6")
    run_here(tmp_path / "cut", *opts, f"training.max_updates={cut}")
    again = run_here(tmp_path / "cut", *opts, "training.max_updates=6", "checkpoint.resume=true")
    assert whole.trainer.current_iteration == again.trainer.current_iteration == 20
    for key in ("model", "optimizer", "lr_scheduler", "rng_states"):
        assert equal(whole.checkpoint()[key], again.checkpoint()[key]), key


def test_gradients_that_are_not_finite_never_reach_the_weights(tmp_path, monkeypatch):
    """A finite loss can have them; clipping would turn all of them into NaN."""
    from mmf_bridge.main.trainer import MMFTrainer

    stock = MMFTrainer._finish_update

    def finish(self):
        if self.num_updates == 3:
            next(self.model.parameters()).grad.fill_(math.inf)
        stock(self)

    monkeypatch.setattr(MMFTrainer, "_finish_update", finish)
    opts = ("run_type=train", "training.clip_gradients=true", "training.max_grad_l2_norm=1.0")
    with pytest.raises(RuntimeError, match="norm of the gradients is not finite at update 4"):
        run_here(tmp_path, *opts, "training.checkpoint_interval=1")
    state = torch.load(tmp_path / "current.ckpt", weights_only=True)
    assert state["num_updates"] == 3
    assert all(weight.isfinite().all() for weight in state["model"].values())


def test_the_length_of_the_run_is_registered_before_its_scheduler(tmp_path, monkeypatch):
    from mmf.common.registry import registry
    from mmf.trainers.callbacks import lr_scheduler

    seen, stock = [], lr_scheduler.build_scheduler
    monkeypatch.setattr(
        lr_scheduler,
        "build_scheduler",
        lambda *args: seen.append(registry.get("run_length")) or stock(*args),
    )
    opts = ("run_type=train", "training.max_epochs=2", "training.update_frequency=3")
    run_here(tmp_path, *opts)
    (length,) = seen
    assert (length.batches_per_epoch, length.updates_per_epoch, length.max_updates) == (7, 3, 6)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (("optimizer.type=Adamw",), r"No optimizer.type named 'Adamw'.*mean 'Adam"),
        (("scheduler.type=warmup_liner",), r"'warmup_liner'.*did you mean 'warmup_linear'"),
        (("training.leftover_batches=cary",), r"Choices: step, carry, drop"),
        (("training.clip_gradients=true",), "max_grad_l2_norm is null"),
    ],
)
def test_bad_settings_of_the_optimization(tmp_path, opts, message):
    with pytest.raises(ValueError, match=message):
        run_here(tmp_path, "run_type=train", *opts)


def test_a_nan_never_reaches_the_weights(tmp_path):
    with pytest.raises(RuntimeError, match="NaN at update 6"):
        run_here(tmp_path, "model_config.tiny.nan_at=6", "run_type=train")
    state = torch.load(tmp_path / "current.ckpt", weights_only=True)
    assert state["num_updates"] == 5
    assert all(weight.isfinite().all() for weight in state["model"].values())


def test_training_looks_at_the_loss_once_an_update(tmp_path, monkeypatch):
    looks = []
    stock = torch.isnan
    monkeypatch.setattr(torch, "isnan", lambda x: looks.append(1) or stock(x))
    run_here(
        tmp_path,
        "training.max_updates=4",
        "training.update_frequency=2",
        "run_type=train",
        changes=sizes(train=52),
    )
    assert len(looks) == 4


@pytest.mark.parametrize("seed", ["null", "0", "7"])
def test_any_seed_or_none(tmp_path, seed):
    run = run_here(tmp_path, f"training.seed={seed}", "training.max_updates=2", "run_type=train")
    assert torch.backends.cudnn.deterministic is (seed != "null")
    again = run_here(
        tmp_path / "again", f"training.seed={seed}", "training.max_updates=2", "run_type=train"
    )
    same = equal(run.checkpoint()["model"], again.checkpoint()["model"])
    assert same is (seed != "null")


def test_tensorboard_gets_losses_metrics_and_the_learning_rate(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_here(tmp_path, "training.tensorboard=true", "training.max_updates=10", "run_type=train")
    (file,) = tmp_path.rglob("events.out.*")
    scalars = EventAccumulator(str(file)).Reload().Tags()["scalars"]
    assert {"train/lr", "train/total_loss", "val/tiny/accuracy"} <= set(scalars)


def test_tensorboard_false_in_lower_case_is_off(tmp_path):
    run_here(tmp_path, "training.tensorboard=false", "training.max_updates=5", "run_type=train")
    assert not list(tmp_path.rglob("events.out.*"))


def test_the_progress_bar_counts_updates_and_shows_scores(tmp_path, monkeypatch):
    from mmf_bridge.main import trainer

    bars = []

    class Progress(trainer.TrainingProgress):
        def __init__(self, *args):
            super().__init__(*args)
            self.updates, self.shown = 0, {}
            bars.append(self)

        def update(self):
            self.updates += 1

        def show(self, **values):
            self.shown.update(values)

    monkeypatch.setattr(trainer, "TrainingProgress", Progress)
    run_here(tmp_path, "training.max_updates=10", "run_type=train")
    (bar,) = bars
    assert bar.updates == 10
    assert 0 <= bar.shown["val"] <= 1 and math.isfinite(bar.shown["loss"])


@pytest.mark.parametrize("others", [{}, {"test": 23}, {"val": 23}])
def test_datasets_with_only_some_splits(tmp_path, others):
    run = run_here(tmp_path, "training.max_updates=10", changes=sizes(train=52, **others))
    assert run.checkpoint()["num_updates"] == 10


def test_a_run_without_training_data_says_so(tmp_path):
    with pytest.raises(ValueError, match="has a train split"):
        run_here(tmp_path, changes=sizes(val=5))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_precision_holds_in_training_evaluation_and_prediction(tmp_path, precision, capfd):
    dtype = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}[precision]
    opts = (
        f"training.precision={precision}",
        "model_config.tiny.print_dtype=true",
        "training.max_updates=2",
    )
    run_here(tmp_path, *opts)
    run_here(tmp_path, *opts, "checkpoint.resume=true", predict=True)
    seen = {line for line in capfd.readouterr().out.splitlines() if "tiny: " in line}
    assert {line.split()[-2] for line in seen} == {f"torch.{dtype}"}
    assert {line.split()[-3] for line in seen} == {"train", "eval"}


def test_an_unknown_precision_names_the_choices(tmp_path):
    with pytest.raises(ValueError, match=r"training.precision: got 'fp8'.*fp32, bf16, fp16"):
        run_here(tmp_path, "training.precision=fp8")


def test_batches_may_hold_each_image_once(tmp_path):
    """``images`` has 5 rows whatever the number of questions."""
    run = run_here(
        tmp_path,
        "dataset_config.tiny.unique_images=true",
        "training.num_workers=1",
        "training.max_updates=2",
    )
    batch = next(iter(run.trainer.train_loader))
    moved = batch.to(torch.device("meta"))
    assert (len(moved["images"]), moved.get_batch_size()) == (5, 8)


def test_a_mixture_of_datasets_gives_each_batch_once_an_epoch(tmp_path):
    run = run_here(tmp_path, "dataset=tiny,tiny_two", "training.max_epochs=2", "run_type=train")
    assert run.trainer.num_updates == 2 * (7 + 3)


def test_a_dataset_without_a_length(tmp_path, monkeypatch):
    from torch.utils.data import IterableDataset

    from tests.bridge.tiny_plugin import dataset

    class Stream(IterableDataset):
        dataset_name, dataset_type = "tiny", "train"

        def __init__(self, samples):
            self.samples = samples

        def __iter__(self):
            for start in range(0, 40, 8):
                yield [self.samples[index] for index in range(start, start + 8)]

    stock = dataset.TinyBuilder.load

    def load(self, config, dataset_type="train", *args, **kwargs):
        samples = stock(self, config, dataset_type)
        return Stream(samples) if dataset_type == "train" else samples

    monkeypatch.setattr(dataset.TinyBuilder, "load", load)
    monkeypatch.setattr(dataset.TinyBuilder, "train_dataloader", _batches_of_a_stream)
    run = run_here(tmp_path, "training.max_updates=7", "run_type=train")
    assert run.trainer.num_updates == 7


def _batches_of_a_stream(builder):
    from mmf.utils.build import build_dataloader_and_sampler
    from omegaconf import OmegaConf

    loader, _ = build_dataloader_and_sampler(
        builder.train_dataset,
        OmegaConf.create({"num_workers": 1, "persistent_workers": False, "batch_size": None}),
    )
    assert loader.persistent_workers is False
    return loader


def test_keys_of_a_dataset_go_before_those_of_training(tmp_path):
    changes = {"dataset_config.tiny": {"batch_size": 5, "num_workers": 1, "shuffle": False}}
    run = run_here(tmp_path, "training.max_updates=1", "run_type=train", changes=changes)
    loader = run.trainer.train_loader.first_loader
    assert loader.num_workers == 1
    assert next(iter(loader.batch_sampler)) == [0, 1, 2, 3, 4]


def test_batch_size_per_device(tmp_path):
    run = run_here(tmp_path, "training.batch_size_per_device=4", "training.max_updates=1")
    assert len(next(iter(run.trainer.train_loader))["x"]) == 4


def test_user_callbacks_are_called(tmp_path):
    from mmf.common.registry import registry
    from mmf.trainers.callbacks.base import Callback

    calls = []

    @registry.register_callback("counting")
    class Counting(Callback):
        def on_update_end(self, **kwargs):
            calls.append("update")

        def on_batch_end(self, **kwargs):
            calls.append("batch")

        def on_validation_end(self, **kwargs):
            calls.append("validation")

    run_here(
        tmp_path,
        "training.max_updates=10",
        "training.update_frequency=2",
        "run_type=train",
        changes={"training.callbacks": [{"type": "counting", "params": {}}]},
    )
    assert calls.count("update") == 10
    assert calls.count("batch") == 18  # 7 batches an epoch: updates of 2, 2, 2 and 1
    assert calls.count("validation") == 1
