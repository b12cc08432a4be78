"""Several processes on CPUs with MMF main."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tests.bridge.runs import ROOT, YAML, options, run_processes


def parameters_of(run, rank):
    return torch.load(run.folder / f"rank{rank}.pt", weights_only=True)


@pytest.fixture
def keeps_weights():
    """A callback that keeps each process's own weights at the end of training."""
    return {
        "training.callbacks": [{"type": "tiny_keep_weights", "params": {}}],
        "env.user_dir": "tests.bridge.tiny_plugin",
    }


def test_parameters_of_all_processes_stay_equal(tmp_path, keeps_weights):
    opts = ("run_type=train", "training.max_updates=12", "training.update_frequency=2")
    run = run_processes(tmp_path, *opts, processes=2, changes=keeps_weights)
    assert run.exit_codes == [0, 0], run.output
    first, second = (parameters_of(run, rank) for rank in (0, 1))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert "(gloo)" in run.output


def test_early_stopping_stops_all_processes(tmp_path):
    run = run_processes(
        tmp_path,
        "run_type=train",
        "training.max_updates=200",
        "training.evaluation_interval=2",
        "training.early_stop.enabled=true",
        "training.early_stop.patience=4",
        "training.checkpoint_interval=100",
        "optimizer.params.lr=0.0",
        processes=2,
    )
    assert run.exit_codes == [0, 0], run.output
    assert "Early stopping activated" in run.output
    assert run.checkpoint()["num_updates"] < 20


def test_a_batch_size_that_cannot_be_shared_says_so(tmp_path):
    run = run_processes(tmp_path, "training.batch_size=7", processes=2)
    assert run.exit_codes != [0, 0]
    assert "must be divisible" in run.output


def test_an_interrupted_run_of_two_processes_continues_bit_for_bit(tmp_path):
    opts = ("run_type=train", "training.evaluation_interval=1000")
    whole = run_processes(tmp_path / "whole", *opts, "training.max_updates=17", processes=2)
    first = run_processes(tmp_path / "cut", *opts, "training.max_updates=10", processes=2)
    assert whole.exit_codes == first.exit_codes == [0, 0], whole.output + first.output
    again = run_processes(
        tmp_path / "cut",
        *opts,
        "training.max_updates=17",
        "checkpoint.resume=true",
        processes=2,
    )
    assert again.exit_codes == [0, 0], again.output
    one, other = whole.checkpoint()["model"], again.checkpoint()["model"]
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_accumulation_reduces_gradients_once_an_update(tmp_path):
    run = run_processes(
        tmp_path,
        "run_type=train",
        "training.max_updates=2",
        "training.update_frequency=2",
        processes=2,
        changes={"training.callbacks": [{"type": "tiny_count_reductions", "params": {}}]},
    )
    assert run.exit_codes == [0, 0], run.output
    assert run.output.count("tiny: gradients reduced") == 2 * 2


def test_a_nan_in_one_process_stops_all(tmp_path):
    opts = ("model_config.tiny.nan_at=3", "model_config.tiny.nan_rank=1")
    run = run_processes(tmp_path, *opts, processes=2)
    assert run.exit_codes == [1, 1], run.output
    assert run.output.count("ended by RuntimeError: The loss is NaN at update 3") == 2


def launch(*command, cwd):
    """Runs a command with the bridge on, as an installation has it."""
    hook = cwd / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text("import mmf_bridge.finder as f; f.install()\n")
    environment = {**os.environ, "PYTHONPATH": f"{hook}:{ROOT}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_torchrun(tmp_path):
    done = launch(
        *("-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0"),
        *("--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0"),
        *("-m", "mmf_cli.predict"),
        *options(tmp_path / "save", ()),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.rglob("reports/*_*.json")
    assert len(json.loads(file.read_text())) == 23
    assert "rank 1 of 2 (gloo)" in done.stdout


def test_processes_that_mmf_spawns(tmp_path):
    done = launch(
        *("-m", "mmf_cli.predict", f"config={YAML}", f"env.save_dir={tmp_path}/save"),
        "distributed.world_size=2",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.rglob("reports/*_*.json")
    assert len(json.loads(file.read_text())) == 23
