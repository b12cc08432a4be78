"""Training: updates, epochs, accumulation, logging, and what a run leaves behind."""

import itertools
import json
import math
import multiprocessing
import re
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from mmf_bridge.common import checkpoint_files
from tests.bridge.runs import Run, order_of, run_here, sizes

SHORT = ("run_type=train", "training.evaluation_interval=100", "training.checkpoint_interval=100")
PLAIN = ("model_config.tiny.dropout=0.0", "model_config.tiny.norm=false", "optimizer.type=SGD")


@pytest.fixture
def batches(monkeypatch):
    """How many samples each training batch has had."""
    from mmf_bridge.common.trainer import Trainer

    seen, stock = [], Trainer.run_training_batch

    def train_batch(self, batch, *args, **kwargs):
        seen.append(len(batch["x"]))
        return stock(self, batch, *args, **kwargs)

    monkeypatch.setattr(Trainer, "run_training_batch", train_batch)
    return seen


@pytest.mark.parametrize("updates", [1, 7, 9])
def test_max_updates_is_exact(tmp_path, batches, updates):
    run = run_here(tmp_path, *SHORT, f"training.max_updates={updates}")
    assert len(batches) == updates
    assert (
        run.checkpoint()["num_updates"] == run.checkpoint()["lr_scheduler"]["last_epoch"] == updates
    )


def test_max_epochs_goes_before_max_updates_and_visits_each_sample(tmp_path, batches):
    opts = ("training.max_epochs=2", "training.max_updates=3")
    run = run_here(tmp_path, *SHORT, *opts, f"dataset_config.tiny.trace={tmp_path / 'seen'}")
    assert run.trainer.max_updates == run.trainer.num_updates == 14
    assert batches == 2 * [8, 8, 8, 8, 8, 8, 4]
    seen = (tmp_path / "seen-train").read_text().split()
    first, second = seen[:52], seen[52:104]
    assert sorted(first, key=int) == sorted(second, key=int) == [str(i) for i in range(52)]
    assert first != second


def test_max_epochs_counts_updates_of_several_batches(tmp_path, batches):
    run = run_here(tmp_path, *SHORT, "training.max_epochs=2", "training.update_frequency=3")
    assert run.trainer.num_updates == 2 * 3  # of 3, 3 and 1 batches
    assert len(batches) == run.trainer.current_iteration == 14


def test_neither_updates_nor_epochs(tmp_path):
    with pytest.raises(ValueError, match=r"Set training\.max_updates or training\.max_epochs"):
        run_here(tmp_path, *SHORT, "training.max_updates=null")


def test_accumulated_batches_give_the_gradient_of_one_big_batch(tmp_path):
    opts = (*SHORT, *PLAIN, "training.max_updates=3", "training.clip_gradients=true")
    opts += ("training.max_grad_l2_norm=0.3",)
    run_here(tmp_path / "one", *opts, "training.batch_size=12", changes=sizes(train=36))
    many = run_here(
        tmp_path / "many",
        *opts,
        "training.batch_size=3",
        "training.update_frequency=4",
        changes=sizes(train=36),
    )
    assert many.trainer.current_iteration == 12
    one = torch.load(tmp_path / "one" / "tiny_final.pth", weights_only=True)
    for name, weight in one.items():
        torch.testing.assert_close(many.checkpoint()["model"][name], weight)


def test_left_over_batches_make_an_update_of_their_own(tmp_path):
    """12 samples in batches of 4, two an update: the second update has the mean over 4 alone."""
    opts = (*SHORT, *PLAIN, "training.max_epochs=1", "training.lr_scheduler=false")
    many = run_here(
        tmp_path / "many",
        *opts,
        "training.batch_size=4",
        "training.update_frequency=2",
        changes=sizes(train=12),
    )
    # By hand, on the same samples in the same order.
    zero = run_here(tmp_path / "zero", *opts, "training.max_epochs=0", changes=sizes(train=12))
    weights = zero.checkpoint()["model"]
    linear = torch.nn.Linear(8, 3)
    linear.load_state_dict({n.split(".")[1]: w for n, w in weights.items()})
    loader = many.trainer.train_loader
    loader.seed_sampler(1)
    order = [i for batch in order_of(loader) for i in batch]
    dataset = loader.get_datasets()[0]
    for part in (order[:8], order[8:]):
        target = dataset.x[part, :3].argmax(dim=1)
        linear.zero_grad()
        torch.nn.functional.cross_entropy(linear(dataset.x[part]), target).backward()
        for parameter in linear.parameters():
            parameter.data -= 0.01 * parameter.grad
    trained = many.checkpoint()["model"]
    torch.testing.assert_close(trained["linear.weight"], linear.weight.data)
    torch.testing.assert_close(trained["linear.bias"], linear.bias.data)


@pytest.mark.parametrize("leftover", ["carry", "drop"])
def test_left_over_batches_are_carried_or_dropped(tmp_path, leftover):
    """20 samples in batches of 4, two an update, by hand on the same samples in the same order."""
    opts = (*SHORT, *PLAIN, "training.lr_scheduler=false", "training.batch_size=4")
    opts += ("training.update_frequency=2", f"training.leftover_batches={leftover}")
    many = run_here(
        tmp_path / "many",
        *opts,
        "training.max_epochs=2",
        f"dataset_config.tiny.trace={tmp_path / 'seen'}",
        changes=sizes(train=20),
    )
    assert many.trainer.num_updates == 4
    zero = run_here(tmp_path / "zero", *opts, "training.max_epochs=0", changes=sizes(train=20))
    weights = zero.checkpoint()["model"]
    linear = torch.nn.Linear(8, 3)
    linear.load_state_dict({n.split(".")[1]: w for n, w in weights.items()})
    loader = many.trainer.train_loader
    dataset, updates, waiting = loader.get_datasets()[0], [], []
    for epoch in (1, 2):
        loader.seed_sampler(epoch)
        for number, batch in enumerate(order_of(loader), start=1):
            waiting.append(batch)
            if number % 2 == 0:
                updates.append(waiting)
                waiting = []
        if leftover == "drop":
            waiting = []
    assert [len(update) for update in updates] == [2, 2, 3 if leftover == "carry" else 2, 2]
    for update in updates:
        linear.zero_grad()
        for batch in update:
            target = dataset.x[batch, :3].argmax(dim=1)
            loss = torch.nn.functional.cross_entropy(linear(dataset.x[batch]), target)
            (loss / 2).backward()
        for parameter in linear.parameters():
            parameter.data -= 0.01 * parameter.grad
    torch.testing.assert_close(many.checkpoint()["model"]["linear.weight"], linear.weight.data)
    torch.testing.assert_close(many.checkpoint()["model"]["linear.bias"], linear.bias.data)
    # What is dropped, or carried to nowhere, is not even loaded.
    seen = (tmp_path / "seen-train").read_text().split()
    assert len(seen) == sum(len(batch) for update in updates for batch in update)


def test_an_unknown_leftover_names_the_choices(tmp_path):
    with pytest.raises(
        ValueError, match=r"leftover_batches: got 'cary'. Did you mean carry. Choices: step, carry"
    ):
        run_here(tmp_path, *SHORT, "training.leftover_batches=cary")


def test_the_length_of_the_run_is_registered_before_its_scheduler(tmp_path, monkeypatch):
    from mmf.common.registry import registry

    schedulers, seen = registry.mapping["scheduler_name_mapping"], []
    stock = schedulers["warmup_linear"]

    def build(*args, **kwargs):
        seen.append(registry.get("run_length"))
        return stock(*args, **kwargs)

    monkeypatch.setitem(schedulers, "warmup_linear", build)
    run_here(tmp_path, *SHORT, "training.max_epochs=2", "training.update_frequency=3")
    (length,) = seen
    assert (length.batches_per_epoch, length.updates_per_epoch, length.max_updates) == (7, 3, 6)


def test_gradients_that_are_not_finite_never_reach_the_weights(tmp_path, monkeypatch):
    """A finite loss can have them; clipping would turn all of them into NaN."""
    from mmf_bridge.common.trainer import Trainer

    stock = Trainer._finish_update

    def finish(self):
        if self.num_updates == 3:
            next(self.model.parameters()).grad.fill_(math.inf)
        stock(self)

    monkeypatch.setattr(Trainer, "_finish_update", finish)
    opts = ("run_type=train", "training.clip_gradients=true", "training.max_grad_l2_norm=1.0")
    opts += ("training.checkpoint_interval=1",)
    with pytest.raises(RuntimeError, match="norm of the gradients is not finite at update 4"):
        run_here(tmp_path, *opts)
    state = torch.load(tmp_path / "current.ckpt", weights_only=True)
    assert state["num_updates"] == 3
    assert all(weight.isfinite().all() for weight in state["model"].values())


def test_clipping_without_a_norm_is_refused(tmp_path):
    with pytest.raises(ValueError, match="max_grad_l2_norm is null"):
        run_here(tmp_path, *SHORT, "training.clip_gradients=true")


def test_the_gradient_norm_is_logged_at_the_log_interval(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    opts = ("training.tensorboard=true", "training.max_updates=10", "training.log_interval=5")
    run_here(
        tmp_path, *SHORT, *opts, "training.clip_gradients=true", "training.max_grad_l2_norm=0.1"
    )
    (file,) = tmp_path.rglob("events.out.*")
    norms = EventAccumulator(str(file)).Reload().Scalars("grad_norm")
    assert [event.step for event in norms] == [5, 10]
    assert all(event.value > 0.1 for event in norms)


def test_an_unknown_optimizer_names_the_nearest(tmp_path):
    with pytest.raises(ValueError, match=r"No optimizer.type named 'Adamw'.*mean Adam\?"):
        run_here(tmp_path, *SHORT, "optimizer.type=Adamw")


def test_several_datasets_are_mixed_and_scored_apart(tmp_path, batches):
    run = run_here(
        tmp_path,
        "run_type=train",
        "dataset=tiny,tiny_two",
        "training.max_epochs=2",
        "training.evaluation_interval=10",
        f"dataset_config.tiny.trace={tmp_path / 'one'}",
        f"dataset_config.tiny_two.trace={tmp_path / 'two'}",
    )
    assert len(batches) == 2 * (7 + 3)
    for name, size in (("one", 52), ("two", 24)):
        seen = (tmp_path / f"{name}-train").read_text().split()
        assert sorted(seen, key=int) == [str(i) for i in range(size) for _ in (1, 2)]
    _, meter = run.trainer.evaluation_loop("val")
    assert {"val/tiny/accuracy", "val/tiny_two/accuracy"} <= set(meter.meters)
    assert meter.meters["val/tiny_two/accuracy"].count == 1


@pytest.mark.parametrize(
    ("leftover", "updates", "computed"), [("step", 9, 21), ("carry", 6, 20), ("drop", 6, 18)]
)
def test_what_becomes_of_left_over_batches(tmp_path, leftover, updates, computed):
    """7 batches an epoch, 3 an update. What is carried to nowhere is not computed."""
    opts = (*SHORT, "training.max_epochs=3", "training.update_frequency=3")
    run = run_here(tmp_path, *opts, f"training.leftover_batches={leftover}")
    assert run.trainer.max_updates == run.trainer.num_updates == updates
    assert run.trainer.current_iteration == computed


@pytest.mark.parametrize("on", [True, False])
def test_anomaly_detection_is_off_unless_asked_for(tmp_path, on):
    opts = ["training.detect_anomaly=true"] if on else []
    run_here(tmp_path, *SHORT, "training.max_updates=1", *opts)
    try:
        assert torch.is_anomaly_enabled() is on
    finally:
        torch.autograd.set_detect_anomaly(False)


def test_a_nan_never_reaches_the_weights(tmp_path):
    opts = ("model_config.tiny.nan_at=6", "run_type=train", "training.max_updates=8")
    with pytest.raises(RuntimeError, match=r"NaN at update 6.*detect_anomaly"):
        run_here(tmp_path, *opts)
    state = torch.load(tmp_path / "current.ckpt", weights_only=True)
    assert state["num_updates"] == 5
    assert all(weight.isfinite().all() for weight in state["model"].values())


def test_the_nan_check_can_be_switched_off(tmp_path):
    """The loss alone is not looked at then; weights that it has ruined are never saved."""
    opts = ("run_type=train", "training.exit_on_nan_losses=false", "training.checkpoint_interval=3")
    opts += ("model_config.tiny.nan_at=5",)
    message = r"not finite after update 6 \(.*training stopped.* after update 3"
    with pytest.raises(RuntimeError, match=message):
        run_here(tmp_path, *opts, "training.max_updates=9", changes=sizes(train=52))


def test_training_looks_at_the_loss_once_an_update(tmp_path, monkeypatch):
    from mmf_bridge.common import trainer

    looks, stock = [], trainer.any_process
    monkeypatch.setattr(trainer, "any_process", lambda flag: looks.append(1) or stock(flag))
    run_here(tmp_path, *SHORT, "training.max_updates=3", "training.update_frequency=2")
    assert len(looks) == 3


def test_tensorboard_gets_losses_metrics_and_the_learning_rate(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_here(
        tmp_path,
        "run_type=train",
        "training.tensorboard=true",
        "training.max_updates=20",
        "training.evaluation_interval=10",
        "training.log_interval=5",
    )
    (file,) = tmp_path.rglob("events.out.*")
    assert file.parent.parent == tmp_path / "logs"
    events = EventAccumulator(str(file)).Reload()
    assert [e.step for e in events.Scalars("train/lr")] == [5, 10, 15, 20]
    assert [e.step for e in events.Scalars("val/tiny/accuracy")] == [10, 20]
    losses = [e.value for e in events.Scalars("train/total_loss")]
    assert len(losses) == 4 and all(map(math.isfinite, losses))


def test_tensorboard_false_in_lower_case_is_off(tmp_path):
    run_here(tmp_path, *SHORT, "training.tensorboard=false", "training.max_updates=1")
    assert not list(tmp_path.rglob("events.out.*"))


def test_the_last_updates_are_evaluated_and_saved(tmp_path):
    run = run_here(tmp_path, "run_type=train", "training.max_updates=13")
    current, best = run.checkpoint(), run.checkpoint("best.ckpt")
    assert current["num_updates"] == 13 and best["best_update"] in (10, 13)
    log = Run(tmp_path).log()
    assert "13/13, val/tiny" in log
    final = run.checkpoint("tiny_final.pth")
    assert all(torch.equal(final[name], best["model"][name]) for name in final)


def test_the_last_updates_are_saved_without_a_val_split(tmp_path):
    run = run_here(tmp_path, "training.max_updates=13", changes=sizes(train=52))
    assert run.checkpoint()["num_updates"] == 13
    assert not (tmp_path / "best.ckpt").exists()
    final, last = run.checkpoint("tiny_final.pth"), run.checkpoint()["model"]
    assert all(torch.equal(final[name], last[name]) for name in final)


def test_the_best_weights_are_restored_without_the_optimizers_state(tmp_path, monkeypatch):
    mapped, stock = {}, checkpoint_files.safe_load

    def load(path, **options):
        mapped[Path(path).name] = options["mapped"]
        return stock(path, **options)

    monkeypatch.setattr(checkpoint_files, "safe_load", load)
    run_here(tmp_path, "run_type=train_val", "training.max_updates=10")
    assert mapped == {"best.ckpt": True}


def test_a_stale_best_checkpoint_is_not_restored(tmp_path):
    run_here(tmp_path, "run_type=train", "training.max_updates=10")
    opts = ("training.max_updates=3", "env.overwrite=true")
    run = run_here(tmp_path, *opts, changes=sizes(train=52, test=5))
    assert not (tmp_path / "best.ckpt").exists()
    final, last = run.checkpoint("tiny_final.pth"), run.checkpoint()["model"]
    assert all(torch.equal(final[name], last[name]) for name in final)


@pytest.mark.parametrize("others", [{"test": 23}, {"val": 23}, {"val": 1, "test": 1}])
def test_datasets_with_only_some_splits(tmp_path, others):
    run = run_here(tmp_path, "training.max_updates=2", changes=sizes(train=52, **others))
    assert run.checkpoint()["num_updates"] == 2
    log = Run(tmp_path).log()
    assert ("tiny has no test split: nothing to do" in log) is ("test" not in others)


def test_a_run_without_training_data_says_so(tmp_path):
    with pytest.raises(ValueError, match="has a train split"):
        run_here(tmp_path, changes=sizes(val=5))


def test_early_stopping(tmp_path):
    opts = ("run_type=train", "training.max_updates=100", "optimizer.params.lr=0.0")
    opts += ("training.evaluation_interval=2", "training.early_stop.patience=5")
    opts += ("model_config.tiny.norm=false",)
    stopped = run_here(tmp_path / "on", *opts, "training.early_stop.enabled=true")
    assert stopped.trainer.num_updates == 8  # nothing better than update 2 for over 5 updates
    assert stopped.checkpoint()["best_update"] == 2
    never = run_here(tmp_path / "off", *opts[:1], "training.max_updates=12", *opts[2:])
    assert never.trainer.num_updates == 12


def test_an_unknown_criterion_that_would_stop_is_refused_before_training(tmp_path):
    opts = ("training.early_stop.enabled=true", "training.early_stop.criteria=tiny/acuracy")
    with pytest.raises(ValueError, match=r"'val/tiny/acuracy'.*it gives: .*val/tiny/accuracy"):
        run_here(tmp_path, "run_type=train", *opts)
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize("known_beforehand", [True, False])
def test_an_unknown_criterion_that_stops_nothing_leaves_the_loss(
    tmp_path, monkeypatch, known_beforehand
):
    """The yaml of another dataset names its metric."""
    from mmf.utils import early_stopping

    if not known_beforehand:  # as with losses that the model itself names
        monkeypatch.setattr(early_stopping.EarlyStopping, "check_criterion", lambda *args: None)
    opts = ("run_type=train", "training.early_stop.criteria=vqa2/vqa_score")
    opts += ("training.max_updates=6", "training.evaluation_interval=2")
    run = run_here(tmp_path, *opts)
    log = Run(tmp_path).log()
    (line,) = [line for line in log.splitlines() if "which the evaluation does not give" in line]
    assert "WARNING" in line and "lowest val/total_loss" in line and "val/tiny/accuracy" in line
    best = run.trainer.early_stopping
    losses = [float(loss) for loss in re.findall(r", val/total_loss: ([0-9.]+)", log)]
    assert losses[best.best_monitored_update // 2 - 1] == min(losses)
    assert best.best_monitored_value == pytest.approx(min(losses), abs=1e-4)
    assert run.checkpoint("best.ckpt")["num_updates"] == best.best_monitored_update
    again = run_here(tmp_path, *opts, "training.max_updates=8", "checkpoint.resume=true")
    assert again.trainer.early_stopping.best_monitored_value <= best.best_monitored_value


def test_a_dataset_may_be_called_by_a_word_with_val_in_it(tmp_path):
    from mmf.utils.early_stopping import EarlyStopping

    stopping = EarlyStopping(None, None, "retrieval/accuracy")
    assert stopping.early_stop_criteria == "val/retrieval/accuracy"


def test_intervals_follow_the_length_of_the_run(tmp_path):
    auto = {f"training.{key}": "auto" for key in ("log_interval", "checkpoint_interval")}
    changes = {**auto, "training.evaluation_interval": None}
    opts = ("run_type=train", "training.max_epochs=3", "training.max_updates=null")
    run = run_here(tmp_path, *opts, changes={**changes, **sizes(train=56, val=8)})
    log = Run(tmp_path).log()
    assert "training.log_interval 2, training.evaluation_interval 7" in log
    assert run.trainer.num_updates == 21
    assert [int(n) for n in re.findall(r"progress: (\d+)/21, train", log)] == [*range(2, 21, 2)]
    assert [int(n) for n in re.findall(r"progress: (\d+)/21, val", log)] == [7, 14, 21]
    # The file is for the next run, which may have another length.
    saved = OmegaConf.load(tmp_path / "config.yaml").training
    assert (saved.log_interval, saved.evaluation_interval) == ("auto", None)
    changes["training.log_interval"] = saved.log_interval
    opts = ("run_type=train", "training.max_updates=5")
    shorter = run_here(tmp_path / "again", *opts, changes=changes)
    assert shorter.trainer.config.training.log_interval == 1


def test_only_the_newest_numbered_checkpoints_stay(tmp_path):
    opts = ("run_type=train", "checkpoint.max_to_keep=2", "training.checkpoint_interval=5")
    run_here(tmp_path, *opts, "training.max_updates=20")
    kept = sorted(file.name for file in (tmp_path / "models").iterdir())
    assert kept == ["model_15.ckpt", "model_20.ckpt"]
    # A shorter run in the same folder takes the place of the longer one.
    run_here(tmp_path, *opts, "training.max_updates=10", "env.overwrite=true")
    assert sorted(file.name for file in (tmp_path / "models").iterdir()) == [
        "model_10.ckpt",
        "model_5.ckpt",
    ]


@pytest.mark.parametrize("flag", [True, False])
def test_persistent_workers_can_be_switched(tmp_path, flag):
    opts = ("training.num_workers=1", f"training.persistent_workers={str(flag).lower()}")
    run = run_here(tmp_path, *SHORT, *opts, "training.max_updates=2", changes=sizes(train=52))
    assert run.trainer.train_loader.first_loader.persistent_workers is flag
    assert not multiprocessing.active_children()


def test_metrics_of_training_batches(tmp_path):
    run = run_here(tmp_path, *SHORT, "training.evaluate_metrics=true", "training.max_updates=5")
    assert "train/tiny/accuracy" in run.trainer.meter.meters


def test_the_progress_bar_counts_updates_and_shows_scores(tmp_path, monkeypatch):
    from mmf_bridge.common import trainer

    lines = []

    class Bar(trainer.TrainingBar):
        def update(self, line):
            lines.append(line())

    monkeypatch.setattr(trainer, "TrainingBar", Bar)
    run_here(tmp_path, "run_type=train", "training.max_updates=12")
    assert [int(line.split("/")[0]) for line in lines] == list(range(1, 13))
    losses = [float(re.search(r" loss ([0-9.]+) ", line)[1]) for line in lines]
    assert all(map(math.isfinite, losses))
    assert [" val " in line for line in lines] == [False] * 10 + [True] * 2


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_precision_holds_in_training_evaluation_and_prediction(tmp_path, precision, capfd):
    dtype = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}[precision]
    opts = ("model_config.tiny.print_dtype=true", "training.max_updates=2")
    run = run_here(tmp_path, *opts, f"training.precision={precision}")
    run_here(
        tmp_path, *opts, f"training.precision={precision}", "checkpoint.resume=true", predict=True
    )
    lines = [
        line.split() for line in capfd.readouterr().out.splitlines() if line.startswith("tiny: ")
    ]
    seen = {(mode, split) for _, mode, _, split in lines}
    # The predictions that the run's report times are of its last training batch.
    assert seen == {("train", "train"), ("eval", "train"), ("eval", "val"), ("eval", "test")}
    assert {kind for _, _, kind, _ in lines} == {f"torch.{dtype}"}
    assert run.trainer.scaler.is_enabled() is (precision == "fp16")
    assert {w.dtype for w in run.checkpoint()["model"].values()} <= {torch.float32, torch.int64}


def test_fp16_by_mains_name(tmp_path):
    run = run_here(tmp_path, *SHORT, "training.fp16=true", "training.max_updates=2")
    assert run.trainer.precision.name == "fp16" and run.trainer.scaler.is_enabled()


def test_the_loss_scale_leaves_the_gradient_as_it_is(tmp_path):
    opts = (*SHORT, *PLAIN, "training.max_updates=1", "training.clip_gradients=true")
    opts += ("training.max_grad_l2_norm=0.3",)
    states = [
        run_here(tmp_path / name, *opts, f"training.precision={name}").checkpoint()["model"]
        for name in ("fp32", "fp16")
    ]
    for name, weight in states[0].items():
        torch.testing.assert_close(states[1][name], weight, atol=1e-4, rtol=0)


def test_an_unknown_precision_names_the_choices(tmp_path):
    with pytest.raises(ValueError, match=r"training.precision: got 'fp8'.*fp32, bf16, fp16"):
        run_here(tmp_path, "training.precision=fp8")


def test_two_precisions_at_once_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"training.fp16 is true but training.precision is 'bf16'"):
        run_here(tmp_path, "training.precision=bf16", "training.fp16=true")


@pytest.mark.parametrize("scheduler", ["warmup_cosine", "pythia"])
def test_schedulers_make_a_step_an_update(tmp_path, scheduler):
    params = {"warmup_cosine": {"num_warmup_steps": 2, "num_training_steps": 6}}
    section = {"type": scheduler, "params": params.get(scheduler, {})}
    changes = {"scheduler": section, "training.lr_steps": [3]}
    run = run_here(
        tmp_path,
        *SHORT,
        "training.max_updates=5",
        "training.log_interval=1",
        changes=changes,
    )
    log = Run(tmp_path).log()
    rates = [float(part.split(",")[0]) for part in log.split(" lr: ")[1:]]
    assert len(rates) == 5 and len(set(rates)) > 1
    state = run.checkpoint()["lr_scheduler"]
    assert state["last_epoch"] == 5


def test_an_unknown_scheduler_names_the_nearest(tmp_path):
    with pytest.raises(ValueError, match=r"'warmup_liner'.*Did you mean warmup_linear"):
        run_here(tmp_path, *SHORT, "scheduler.type=warmup_liner")


def test_the_model_without_a_loss_says_so(tmp_path):
    with pytest.raises(ValueError, match=r"gave no loss: name one in model_config\.tiny\.losses"):
        run_here(tmp_path, *SHORT, changes={"model_config.tiny.losses": []})


def test_the_command_alone_takes_a_yaml_with_main_only_keys(tmp_path):
    changes = {
        "training.update_frequency": 2,
        "training.fp16": False,
        "training.exit_on_nan_losses": True,
        "checkpoint.max_to_keep": 1,
        "env.data_dir": "${oc.env:HOME,/nowhere}",
    }
    run = run_here(tmp_path, *SHORT, "training.max_updates=2", changes=changes)
    assert OmegaConf.select(run.trainer.config, "env.data_dir") is not None
    assert list(itertools.chain(*[p.parent.glob("*.ckpt") for p in tmp_path.rglob("model_2.ckpt")]))


def test_a_run_reports_what_it_cost(tmp_path):
    opts = ("run_type=train", "training.max_updates=5", "training.checkpoint_interval=5")
    run_here(tmp_path, *opts)
    file = tmp_path / "run_report.json"
    found = json.loads(file.read_text())
    assert found["updates"] == 5 and found["trainable"] == found["total"] > 0
    assert found["seconds"] > found["seconds_per_update"] > 0
    assert found["seconds_per_prediction"] > 0
    assert f"; {file}" in Run(tmp_path).log()
    # A run that is over already has nothing to say.
    run_here(tmp_path, *opts, "checkpoint.resume=true")
    assert json.loads(file.read_text()) == found
