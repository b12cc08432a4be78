"""A run's folder: no run is overwritten unasked, and none shares it with another."""

import os
import re
import signal
import socket

import pytest
import torch

from tests.bridge.runs import YAML, assert_same_end, equal, run_here, run_processes

SHORT = ("run_type=train", "training.max_updates=5")


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".ckpt", ".pth")
    }


@pytest.fixture
def finished(tmp_path):
    run_here(tmp_path, *SHORT)
    return tmp_path


def test_a_second_run_of_the_same_command_is_refused(finished, monkeypatch):
    before = contents(finished)
    import mmf_cli.run

    monkeypatch.setattr(mmf_cli.run, "build_trainer", lambda config: pytest.fail("too late"))
    message = (
        rf"{re.escape(str(finished))} holds a run \(current\.ckpt, best\.ckpt, tiny_final\.pth, "
        r"models/model_5\.ckpt\).*checkpoint\.resume=true; .*env\.save_dir; .*env\.overwrite=true"
    )
    for opts in ((), (f"checkpoint.resume_file={finished / 'tiny_final.pth'}",)):
        with pytest.raises(FileExistsError, match=message):
            mmf_cli.run.run([f"config={YAML}", f"env.save_dir={finished}", *SHORT, *opts])
    assert contents(finished) == before and not (finished / "training.lock").exists()


def test_processes_are_refused_before_they_meet(finished):
    """Each by itself: none waits for another that has been refused."""
    run = run_processes(finished, *SHORT, processes=2)
    assert run.exit_codes == [1, 1], run.output
    assert run.output.count("ended by FileExistsError") == 2 and "rank 1 of 2" not in run.output


def test_what_is_replaced_goes_when_training_begins(tmp_path):
    run_here(tmp_path, "run_type=train", "training.max_updates=20")
    opts = (*SHORT, "env.overwrite=true", "training.evaluation_interval=100")
    with pytest.raises(ValueError, match="another model"):
        run_here(
            tmp_path, *opts, f"checkpoint.resume_file={save_other_model(tmp_path / 'other.pth')}"
        )
    assert (tmp_path / "best.ckpt").exists()
    run_here(tmp_path, *opts, "dataset_config.tiny.sizes.val=0")
    left = {"current.ckpt", "tiny_final.pth", "models/model_5.ckpt"}
    assert contents(tmp_path).keys() - {"other.pth"} == left


def test_a_refused_resume_leaves_the_configuration_of_the_run(finished):
    before = (finished / "config.yaml").read_bytes()
    other = save_other_model(finished.parent / f"{finished.name}-other.pth")
    opts = ("checkpoint.resume=true", "training.seed=7")
    os.replace(other, finished / "current.ckpt")
    with pytest.raises(ValueError, match="another model"):
        run_here(finished, *SHORT, *opts)
    assert (finished / "config.yaml").read_bytes() == before
    run_here(finished, *SHORT, *opts, "checkpoint.resume_best=true")
    assert (finished / "config.yaml").read_bytes() != before


def save_other_model(path):
    torch.save({"other": torch.zeros(1)}, path)
    return path


@pytest.mark.parametrize(
    "opts",
    [
        ("checkpoint.resume=true", "env.overwrite=true"),
        ("checkpoint.resume=true", "checkpoint.resume_best=true"),
        ("checkpoint.resume_file={}/current.ckpt",),
        ("checkpoint.resume_file={}/models/model_5.ckpt",),
    ],
)
def test_a_run_that_goes_on_is_not_a_second_one(finished, opts):
    opts = [opt.format(finished) for opt in opts]
    run = run_here(finished, "run_type=train", "training.max_updates=7", *opts)
    assert run.trainer.num_updates == 7 and (finished / "models" / "model_5.ckpt").exists()


def test_predicting_and_scoring_overwrite_nothing(finished):
    before = contents(finished)
    (finished / "training.lock").write_text("host: elsewhere\n")  # a run trains there
    run_here(finished, "checkpoint.resume=true", predict=True)
    run_here(finished, "checkpoint.resume=true", "run_type=test", "env.overwrite=true")
    run_here(finished, "run_type=val")
    assert contents(finished) == before


def test_a_finished_run_that_is_resumed_saves_nothing(tmp_path):
    """Random numbers, of dropout and of the data, go on afterwards as if it had not been."""
    opts = ("training.lr_scheduler=false", "dataset_config.tiny.augment=true")
    opts += ("training.evaluation_interval=4", "training.early_stop.minimize=true")
    folder = tmp_path / "again"
    run_here(folder, *opts, "training.max_updates=9")
    before = contents(folder)
    run = run_here(folder, *opts, "training.max_updates=9", "checkpoint.resume=true")
    assert contents(folder) == before
    assert "test/tiny/accuracy" in "".join(f.read_text() for f in (folder / "logs").iterdir())
    whole = run_here(tmp_path / "whole", *opts, "training.max_updates=14")
    run = run_here(folder, *opts, "training.max_updates=14", "checkpoint.resume=true")
    # The shorter run has judged its last update, which the longer one passes by.
    assert run.checkpoint()["best_update"] in (whole.checkpoint()["best_update"], 9)
    one, other = whole.checkpoint(), run.checkpoint()
    differing = {key for key in one if not equal(one[key], other[key])}
    assert differing <= {"config", "best_update", "best_iteration", "best_metric_value"}


def test_two_runs_at_once_are_refused(tmp_path):
    opts = ("run_type=train", "training.lr_scheduler=false", "training.checkpoint_interval=5")
    seen = []

    def start_another(pid, signum):
        seen.append(run_processes(tmp_path, *opts, "checkpoint.resume=true"))
        os.kill(pid, signum)

    first = run_processes(
        *(tmp_path, *opts, "training.max_updates=1000000", "training.evaluation_interval=1000000"),
        kill_at=tmp_path / "current.ckpt",
        tell=start_another,
    )
    assert first.exit_codes == [-signal.SIGKILL]
    assert seen[0].exit_codes == [1], seen[0].output
    who = rf"a run trains there \(process \d+ on {socket.gethostname()}\)"
    assert re.search(rf"RuntimeError: {tmp_path} is taken: {who}", seen[0].output)
    # The lock of the killed one is nobody's, and left no file.
    assert not list(tmp_path.rglob("*.lock"))
    more = f"training.max_updates={first.checkpoint()['num_updates'] + 1}"
    again = run_processes(tmp_path, *opts, more, "checkpoint.resume=true")
    assert again.exit_codes == [0], again.output
    assert not (tmp_path / "training.lock").exists()


def test_an_error_frees_the_folder(tmp_path):
    for _ in range(2):
        with pytest.raises(ValueError, match="precision"):
            run_here(tmp_path, *SHORT, "training.precision=fp8")


def test_half_a_checkpoint_of_a_killed_run_goes_with_the_next_run(tmp_path, monkeypatch):
    """Wherever that ran: nobody else writes checkpoints here while a run holds the folder."""
    models = tmp_path / "models"
    models.mkdir()
    left = [models / ".partial-elsewhere-1-2-3-model_3.ckpt", tmp_path / ".partial-e-1-2-3-x.json"]
    for file in left:
        file.write_bytes(b"half")
    run_here(tmp_path, *SHORT)
    assert [file.exists() for file in left] == [False, True]


@pytest.mark.parametrize("processes", [1, 2])
def test_weights_that_are_not_finite_are_never_saved(tmp_path, processes):
    opts = ("run_type=train", "training.exit_on_nan_losses=false", "model_config.tiny.nan_at=4")
    opts += ("training.checkpoint_interval=3", "training.evaluation_interval=5")
    run = run_processes(tmp_path, *opts, processes=processes)
    assert run.exit_codes == [1] * processes
    expected = (
        r"ended by RuntimeError: The weights are not finite after update 5 \(norm\.weight and \d "
        rf"more\): training stopped, .*{tmp_path}/current\.ckpt stands as it was after update 3"
    )
    assert len(re.findall(expected, run.output)) == processes, run.output
    assert contents(tmp_path).keys() == {"current.ckpt", "models/model_3.ckpt"}


def test_what_is_infinite_by_intent_is_saved(tmp_path, monkeypatch):
    from tests.bridge.tiny_plugin.model import Tiny

    stock = Tiny.build

    def build(self):
        stock(self)
        self.register_buffer("mask", torch.full((2,), -torch.inf))

    monkeypatch.setattr(Tiny, "build", build)
    assert run_here(tmp_path, *SHORT).checkpoint()["model"]["mask"].isinf().all()


def test_what_is_trained_is_finite_from_the_start(tmp_path, monkeypatch):
    from tests.bridge.tiny_plugin.model import Tiny

    stock = Tiny.build

    def build(self):
        stock(self)
        self.words = torch.nn.Parameter(torch.tensor([0.0, torch.nan]))  # as memory that was empty

    monkeypatch.setattr(Tiny, "build", build)
    with pytest.raises(RuntimeError, match=r"^words: the weights hold NaN .* not initialised"):
        run_here(tmp_path, *SHORT)


def test_nothing_to_resume_is_said(tmp_path, capfd):
    run_here(tmp_path, *SHORT, "checkpoint.resume=true")
    assert "Nothing to resume: neither" in capfd.readouterr().out


def test_a_run_killed_within_its_first_save_starts_again(tmp_path):
    """It has left a numbered checkpoint, and none to go on from."""
    opts = ("run_type=train", "training.max_updates=10")
    whole = run_here(tmp_path / "whole", *opts)
    (tmp_path / "killed" / "models").mkdir(parents=True)
    (tmp_path / "killed" / "models" / "model_5.ckpt").write_bytes(b"whole, but without a name")
    assert_same_end(whole, run_here(tmp_path / "killed", *opts, "checkpoint.resume=true"))


@pytest.mark.parametrize("key", ["save_dir", "log_dir", "report_dir"])
def test_a_folder_that_cannot_be_made(tmp_path, key):
    (tmp_path / "file").write_text("")
    changed = f"env.{key}={tmp_path / 'file' / 'folder'}"
    with pytest.raises(ValueError, match=rf"^env\.{key}: got .*, but .*/file is not a folder$"):
        run_here(tmp_path / "run", *SHORT, changed)
