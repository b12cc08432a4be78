"""An interrupted run that is resumed ends as if nothing had happened, bit for bit."""

import traceback

import pytest
import torch

from tests.bridge.runs import assert_same_end, equal, order_of, run_here, run_processes, sizes

OPTIONS = (
    "training.max_updates=17",
    "training.checkpoint_interval=3",
    "training.evaluation_interval=5",
)
# An epoch of `tiny` has 7 batches, one of both datasets 10; some end within an accumulation.
VARIANTS = {
    "plain": (),
    "augmented": ("dataset_config.tiny.augment=true",),
    "images_once": ("dataset_config.tiny.unique_images=true",),
    "accumulated": ("training.update_frequency=3",),
    "carried": ("training.update_frequency=3", "training.leftover_batches=carry"),
    "carried_augmented": (
        *("training.update_frequency=3", "training.leftover_batches=carry"),
        *("dataset_config.tiny.augment=true", "training.precision=fp16"),
    ),
    "dropped": (
        *("training.update_frequency=3", "training.leftover_batches=drop"),
        "dataset_config.tiny.augment=true",
    ),
    # The larger one last, so that an epoch ends with it.
    "two_datasets": ("dataset=tiny_two,tiny",),
    "two_accumulated": ("dataset=tiny_two,tiny", "training.update_frequency=3"),
    "workers": ("training.num_workers=2",),
    "persistent": ("training.num_workers=2", "training.persistent_workers=true"),
    "two_with_workers": ("dataset=tiny,tiny_two", "training.num_workers=1"),
    "fp16": ("training.precision=fp16",),
    "bf16": ("training.precision=bf16",),
    "adam_w": ("optimizer.type=adam_w",),
    "pythia": (),
}
CHANGES = {"pythia": {"scheduler": {"type": "pythia"}}}


class Killed(BaseException):
    """What no handler catches: as good as SIGKILL to the files."""


def run_killed(*args, **kwargs):
    try:
        run_here(*args, **kwargs)
    except Killed as killed:
        traceback.clear_frames(killed.__traceback__)  # which keep workers alive
    else:
        pytest.fail("The run came to its end")


@pytest.fixture
def kill_at(monkeypatch):
    """A function that lets the process die in the given batch of the next run."""
    from mmf_bridge.common.trainer import Trainer

    stock = Trainer.run_training_batch

    def arrange(batch):
        left = [batch]

        def train_batch(self, *args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return stock(self, *args, **kwargs)

        monkeypatch.setattr(Trainer, "run_training_batch", train_batch)

    yield arrange


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_killed_run_continues_bit_for_bit(tmp_path, kill_at, variant):
    opts = [*OPTIONS, "run_type=train", *VARIANTS[variant]]
    changes = CHANGES.get(variant)
    whole = run_here(tmp_path / "whole", *opts, changes=changes)
    # Twice: in the first epoch between two evaluations, and after the first resume in a later one.
    folder = tmp_path / "killed"
    for batch in (10, 8):
        kill_at(batch)
        run_killed(folder, *opts, "checkpoint.resume=true", changes=changes)
    kill_at(-1)
    resumed = run_here(folder, *opts, "checkpoint.resume=true", changes=changes)
    assert_same_end(whole, resumed)


@pytest.mark.parametrize("batch", [6, 7, 8, 9, 10, 11])
def test_gradients_that_are_carried_over_are_neither_lost_nor_doubled(tmp_path, kill_at, batch):
    """Killed in each micro-batch around the end of the first epoch, of 7: 3, 3 and 1."""
    opts = ("run_type=train", "training.max_epochs=2", "training.checkpoint_interval=1")
    opts += ("training.update_frequency=3", "training.leftover_batches=carry")
    whole = run_here(tmp_path / "whole", *opts)
    assert whole.trainer.num_updates == 4 and whole.trainer.current_iteration == 13
    kill_at(batch)
    run_killed(tmp_path / "killed", *opts)
    kill_at(-1)
    assert_same_end(whole, run_here(tmp_path / "killed", *opts, "checkpoint.resume=true"))


def test_killed_before_any_checkpoint_it_starts_again(tmp_path, kill_at):
    opts = (*OPTIONS, "run_type=train")
    whole = run_here(tmp_path / "whole", *opts)
    kill_at(2)
    run_killed(tmp_path / "killed", *opts)
    kill_at(-1)
    assert_same_end(whole, run_here(tmp_path / "killed", *opts, "checkpoint.resume=true"))


def test_killed_while_evaluating_it_evaluates_again(tmp_path, monkeypatch):
    """The best update may be the very one whose evaluation was interrupted."""
    from mmf_bridge.common.trainer import Trainer

    opts = (*OPTIONS, "run_type=train", "training.checkpoint_interval=5")
    opts += ("training.early_stop.minimize=true",)  # the accuracy is lowest in the beginning
    whole = run_here(tmp_path / "whole", *opts)
    best = whole.checkpoint("best.ckpt")["best_update"]
    assert best in (5, 10, 15)
    with monkeypatch.context() as patch:
        stock = Trainer.evaluation_loop

        def evaluate(self, *args, **kwargs):
            if self.num_updates == best:
                raise Killed
            return stock(self, *args, **kwargs)

        patch.setattr(Trainer, "evaluation_loop", evaluate)
        run_killed(tmp_path / "killed", *opts)
    assert_same_end(whole, run_here(tmp_path / "killed", *opts, "checkpoint.resume=true"))


def test_a_process_killed_by_the_system(tmp_path):
    opts = (*OPTIONS, "run_type=train")
    whole = run_processes(tmp_path / "whole", *opts)
    assert whole.exit_codes == [0], whole.output
    folder = tmp_path / "killed"
    first = run_processes(folder, *opts, kill_at=folder / "models" / "model_9.ckpt")
    assert first.exit_codes == [-9], first.output
    resumed = run_processes(folder, *opts, "checkpoint.resume=true")
    assert resumed.exit_codes == [0], resumed.output
    assert "Checkpoint loaded: update" in resumed.output
    assert_same_end(whole, resumed)


def test_another_drawn_seed_keeps_the_order_of_the_epoch(tmp_path):
    first = run_here(tmp_path, "training.seed=-1", "training.max_updates=10", "run_type=train")
    again = run_here(
        tmp_path,
        "training.seed=-1",
        "training.max_updates=14",
        "run_type=train",
        "checkpoint.resume=true",
        f"dataset_config.tiny.trace={tmp_path / 'seen'}",
    )
    assert again.checkpoint()["sampler_seed"] == first.checkpoint()["sampler_seed"]
    again.trainer.train_loader.seed_sampler(2)
    expected = [index for batch in order_of(again.trainer.train_loader)[3:] for index in batch]
    seen = [int(line) for line in (tmp_path / "seen-train").read_text().split()]
    assert seen == expected


def test_patience_is_not_started_again(tmp_path):
    opts = ("run_type=train", "optimizer.params.lr=0.0", "training.early_stop.enabled=true")
    opts += ("model_config.tiny.norm=false",)  # so that nothing of the model moves
    opts += ("training.evaluation_interval=2", "training.early_stop.patience=9")
    first = run_here(tmp_path, *opts, "training.max_updates=6")
    again = run_here(tmp_path, *opts, "training.max_updates=40", "checkpoint.resume=true")
    assert first.checkpoint()["best_update"] == again.checkpoint()["best_update"] == 2
    assert again.trainer.num_updates == 12  # the first evaluation more than 9 updates after it


def test_a_finished_run_that_is_resumed_changes_nothing(tmp_path):
    opts = (*OPTIONS, "run_type=train")
    first = run_here(tmp_path, *opts).checkpoint()["model"]
    assert equal(first, run_here(tmp_path, *opts, "checkpoint.resume=true").checkpoint()["model"])


def test_reset_takes_the_weights_alone(tmp_path):
    first = run_here(tmp_path / "first", "training.max_updates=10", "run_type=train")
    again = run_here(
        tmp_path / "again",
        "training.max_updates=5",
        "training.evaluation_interval=5",
        "run_type=train",
        "optimizer.params.lr=0.0",
        f"checkpoint.resume_file={first.folder / 'current.ckpt'}",
        "checkpoint.reset.all=true",
    )
    assert again.checkpoint()["num_updates"] == 5
    assert again.checkpoint()["lr_scheduler"]["last_epoch"] == 5
    weights = [run.checkpoint()["model"]["linear.weight"] for run in (first, again)]
    assert torch.equal(*weights)
    # Its own evaluation is its best one, however good the first run was.
    assert again.checkpoint("best.ckpt")["best_update"] == 5


def test_another_runs_file_brings_no_best_of_its_own(tmp_path):
    """Nor does a best.ckpt that lies in the folder from an earlier run become the result."""
    first = run_here(tmp_path / "first", "training.max_updates=10", "run_type=train")
    run_here(tmp_path / "here", "training.max_updates=10", "run_type=train", "training.seed=9")
    run = run_here(
        tmp_path / "here",
        "training.max_updates=12",
        "run_type=train",
        "env.overwrite=true",
        f"checkpoint.resume_file={first.folder / 'current.ckpt'}",
        changes=sizes(train=52),
    )
    assert run.checkpoint()["num_updates"] == 12
    assert equal(run.checkpoint("tiny_final.pth"), run.checkpoint()["model"])


def test_resume_best_goes_back_to_the_best_update(tmp_path):
    opts = ("run_type=train", "training.evaluation_interval=4", "training.early_stop.minimize=true")
    run_here(tmp_path, *opts, "training.max_updates=20")  # the lowest accuracy is "best"
    best = run_here(tmp_path, "checkpoint.resume=true", "checkpoint.resume_best=true", predict=True)
    kept = best.checkpoint("best.ckpt")
    assert best.trainer.num_updates == kept["best_update"] == kept["num_updates"] < 20
    assert equal(best.trainer.model.state_dict(), kept["model"])
