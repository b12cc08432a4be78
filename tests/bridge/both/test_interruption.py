"""Ctrl-C and SIGTERM: the run saves, ends with one line, and goes on as if nothing had happened."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from tests.bridge.runs import (
    PATIENCE,
    ROOT,
    assert_same_end,
    equal,
    options,
    run_here,
    run_processes,
)

SIGINT, SIGTERM = signal.SIGINT, signal.SIGTERM
OPTIONS = (
    *("run_type=train", "training.max_updates=13", "training.evaluation_interval=5"),
    *("training.checkpoint_interval=4", "training.early_stop.minimize=true"),
)
VARIANTS = {
    "plain": (),
    "augmented": ("dataset_config.tiny.augment=true",),
    "accumulated": ("training.update_frequency=2",),
    "carried": ("training.update_frequency=3", "training.leftover_batches=carry"),
    "mixture": ("dataset=tiny_two,tiny",),
    "workers": ("training.num_workers=1",),
}


def send(*signals):
    return lambda: [os.kill(os.getpid(), signum) for signum in signals]


def run_interrupted(folder, *opts, code=130, **kwargs):
    with pytest.raises(SystemExit) as end:
        run_here(folder, *opts, **kwargs)
    assert end.value.code == code


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_interrupted_run_continues_bit_for_bit(tmp_path, at_pass, variant, capfd):
    """Twice: within an epoch, and near the end of one."""
    opts = (*OPTIONS, *VARIANTS[variant])
    folder = tmp_path / "cut"
    whole = run_here(tmp_path / "whole", *opts)
    capfd.readouterr()
    at_pass(5, send(SIGINT))
    run_interrupted(folder, *opts)
    said = capfd.readouterr()
    last = said.out.splitlines()[-1]
    assert "Interrupted after update" in last and "To go on: checkpoint.resume=true" in last
    assert "Traceback" not in said.out + said.err
    at_pass(6, send(SIGTERM))
    run_interrupted(folder, *opts, "checkpoint.resume=true", code=143)
    at_pass(-1, None)
    assert_same_end(whole, run_here(folder, *opts, "checkpoint.resume=true"))


@pytest.mark.parametrize("variant", ["plain", "mixture"])
@pytest.mark.parametrize("batch", [7, 10])
def test_an_epochs_end_is_a_place_like_any_other(tmp_path, at_pass, variant, batch):
    """An epoch has 7 batches, of a mixture 10; another epoch is cut short in its middle."""
    opts = (*OPTIONS, *VARIANTS[variant])
    whole = run_here(tmp_path / "whole", *opts)
    for at in (batch, 2):
        at_pass(at, send(SIGINT))
        run_interrupted(tmp_path / "cut", *opts, "checkpoint.resume=true")
    at_pass(-1, None)
    assert_same_end(whole, run_here(tmp_path / "cut", *opts, "checkpoint.resume=true"))


@pytest.mark.parametrize("evaluation", [1, 3])
def test_an_interrupted_evaluation_is_made_up_for(tmp_path, at_pass, evaluation):
    """Of update 5, or of the last one, 13; each has 3 batches, which are not all computed."""
    whole = run_here(tmp_path / "whole", *OPTIONS)
    at_pass(3 * evaluation - 2, send(SIGTERM), training=False)
    run_interrupted(tmp_path / "cut", *OPTIONS, code=143)
    at_pass(-1, None)
    cut = torch.load(tmp_path / "cut" / "current.ckpt", weights_only=True)
    assert cut["num_updates"] == {1: 5, 3: 13}[evaluation] > (cut["last_evaluated"] or 0)
    if evaluation == 1:
        assert whole.checkpoint()["best_update"] == 5
    assert_same_end(whole, run_here(tmp_path / "cut", *OPTIONS, "checkpoint.resume=true"))


def test_an_evaluation_that_stops_early_does_so_after_a_resume(tmp_path, at_pass):
    opts = ("run_type=train", "optimizer.params.lr=0.0", "model_config.tiny.norm=false")
    opts += ("training.early_stop.enabled=true", "training.early_stop.patience=5")
    opts += ("training.evaluation_interval=2", "training.max_updates=40")
    at_pass(3 * 3 + 1, send(SIGINT), training=False)  # the fourth evaluation, of update 8
    run_interrupted(tmp_path, *opts)
    at_pass(-1, None)
    assert run_here(tmp_path, *opts, "checkpoint.resume=true").trainer.num_updates == 8


def test_before_the_first_update_there_is_nothing_to_save(tmp_path, at_pass, capfd):
    at_pass(1, send(SIGTERM))
    run_interrupted(tmp_path, *OPTIONS, code=143)
    assert capfd.readouterr().err.endswith("Interrupted: nothing has been saved\n")
    assert not list(tmp_path.rglob("*.ckpt")) and not list(tmp_path.glob("*.lock"))


def test_a_second_ctrl_c_ends_at_once(tmp_path, at_pass, capfd):
    at_pass(7, send(SIGINT, SIGTERM, SIGINT))
    run_interrupted(tmp_path, *OPTIONS)
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("Interrupted: the updates after the last checkpoint are lost")
    assert sorted(f.name for f in (tmp_path / "models").iterdir()) == [
        "model_4.ckpt",
        "model_5.ckpt",
    ]


def test_after_the_training_its_checkpoints_are_whole(tmp_path, at_pass, capfd):
    opts = ("training.max_updates=2", "dataset_config.tiny.sizes.val=0")
    whole = run_here(tmp_path / "whole", *opts)
    at_pass(5, send(SIGINT), training=False)  # four are those of the run's report
    run_interrupted(tmp_path / "cut", *opts)
    assert "Interrupted: the training is complete and saved" in capfd.readouterr().err
    cut = run_here(tmp_path / "cut", *opts, "checkpoint.resume=true")
    assert equal(whole.checkpoint()["model"], cut.checkpoint()["model"])


@pytest.mark.parametrize("opts", [("run_type=test",), ("run_type=val",)])
def test_evaluating_ends_at_once(tmp_path, at_pass, opts):
    at_pass(1, send(SIGINT), training=False)
    run_interrupted(tmp_path, *opts)


def test_handlers_are_put_back(tmp_path, monkeypatch):
    before = signal.signal(SIGTERM, lambda signum, frame: None)
    mine = signal.getsignal(SIGTERM)
    try:
        run_here(tmp_path, "run_type=val")
        assert signal.getsignal(SIGTERM) is mine
        assert signal.getsignal(SIGINT) is signal.default_int_handler
    finally:
        signal.signal(SIGTERM, before)


def test_another_thread_than_the_main_one_handles_no_signals(tmp_path):
    ran = []
    thread = threading.Thread(target=lambda: ran.append(run_here(tmp_path, "run_type=val")))
    thread.start()
    thread.join()
    assert ran


LONG = ("run_type=train", "training.lr_scheduler=false", "training.evaluation_interval=1000000")
LONG += ("training.checkpoint_interval=5", "checkpoint.max_to_keep=2")
ENDLESS = (*LONG, "training.max_updates=1000000")


@pytest.mark.parametrize(("signum", "code"), [(SIGINT, 130), (SIGTERM, 143)])
def test_workers_outlive_signals_to_all_processes(tmp_path, signum, code):
    run = run_processes(
        *(tmp_path, *ENDLESS, "training.num_workers=2"),
        kill_at=tmp_path / "current.ckpt",
        signum=signum,
        tell=os.killpg,
    )
    assert run.exit_codes == [code], run.output
    assert "Traceback" not in run.output and "Interrupted after update" in run.output


def interrupt(folder, *opts, launcher=(), tell=os.kill, signum=SIGTERM):
    """Run the command as an installation has it, until a signal comes after its first checkpoint.

    Returns:
        its exit code, and what it said.
    """
    hook = folder / "hook"
    hook.mkdir(parents=True)
    (hook / "sitecustomize.py").write_text("import mmf_bridge.finder as f; f.install()\n")
    environment = {**os.environ, "PYTHONPATH": f"{hook}:{ROOT}", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, *launcher, "-m", "mmf_cli.run", *options(folder, opts)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + PATIENCE
        while not (folder / "current.ckpt").exists() and process.poll() is None:
            assert time.monotonic() < end, "The run does not come to its first checkpoint"
            time.sleep(0.01)
        tell(process.pid, signum)
        output, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, output


def assert_one_end(output, folder):
    assert "rank 1 of 2 (gloo)" in output
    assert "Traceback" not in output and output.count("Interrupted after update") == 1, output
    assert not (folder / "training.lock").exists()


@pytest.mark.slow
def test_processes_that_mmf_spawns_end_together(tmp_path):
    code, output = interrupt(
        *(tmp_path, *ENDLESS, "distributed.world_size=2"), tell=os.killpg, signum=SIGINT
    )
    assert code == 130, output
    assert_one_end(output, tmp_path)


def test_a_signal_to_their_parent_ends_them(tmp_path):
    opts = (*ENDLESS, "distributed.world_size=2")
    run = run_processes(tmp_path, *opts, kill_at=tmp_path / "current.ckpt", signum=SIGTERM)
    assert run.exit_codes == [143], run.output
    assert_one_end(run.output, tmp_path)


@pytest.mark.slow
def test_torchrun_ends_all_processes(tmp_path):
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0")
    launcher += ("--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0")
    _, output = interrupt(tmp_path, *ENDLESS, launcher=launcher)
    assert "rank 1 of 2 (gloo)" in output
    assert output.count("Interrupted after update") == 1, output


@pytest.mark.parametrize("ranks", [(0,), (1,), (0, 1)])
def test_a_signal_to_any_process_ends_all_at_one_update(tmp_path, ranks):
    folder = tmp_path / "cut"
    file = folder / "current.ckpt"
    first = run_processes(
        *(folder, *ENDLESS),
        processes=2,
        kill_at=file,
        signum=SIGTERM,
        ranks=ranks,
    )
    assert first.exit_codes == [143, 143], first.output
    assert "Traceback" not in first.output
    more = first.checkpoint()["num_updates"] + 6
    opts = (*LONG, f"training.max_updates={more}")
    again = run_processes(folder, *opts, "checkpoint.resume=true", processes=2)
    whole = run_processes(tmp_path / "whole", *opts, processes=2)
    assert again.exit_codes == whole.exit_codes == [0, 0], again.output + whole.output
    assert_same_end(whole, again)


def test_an_evaluation_of_several_processes_ends_together(tmp_path):
    """One of them has nothing to evaluate, and only the other one gets the signal."""
    folder = tmp_path / "cut"
    opts = ("run_type=train", "training.max_updates=4", "training.evaluation_interval=2")
    opts += ("dataset_config.tiny.sizes.val=1", "training.early_stop.minimize=true")
    changes = {"model_config.tiny.signal_at": 1}
    first = run_processes(folder, *opts, processes=2, changes=changes)
    assert first.exit_codes == [143, 143], first.output
    assert first.checkpoint()["num_updates"] == 2
    again = run_processes(folder, *opts, "checkpoint.resume=true", processes=2)
    whole = run_processes(tmp_path / "whole", *opts, processes=2)
    assert again.exit_codes == whole.exit_codes == [0, 0], again.output + whole.output
    assert_same_end(whole, again)


def test_a_run_that_fails_leaves_no_workers_to_pythons_end(tmp_path, monkeypatch):
    """Where what they are waited for has no limit."""
    from mmf_bridge.common.trainer import Trainer

    def fails(self):
        raise RuntimeError("the update fails")

    monkeypatch.setattr(Trainer, "_finish_update", fails)
    with pytest.raises(RuntimeError, match="the update fails") as held:
        run_here(tmp_path, "training.num_workers=1", "run_type=train")
    assert held.traceback  # and the frames of the iteration with it
    assert not multiprocessing.active_children()
