"""Runs of the tiny plugin: in this process, or each in a process forked from a warm one."""

import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[2]
YAML = ROOT / "tests" / "bridge" / "tiny_plugin" / "tiny.yaml"
PATIENCE = 120  # seconds until a process counts as hung

_servers = multiprocessing.get_context("forkserver")
_servers.set_forkserver_preload(["tests.bridge.warm"])


@dataclass
class Run:
    """What a run left behind."""

    folder: Path
    trainer: Any = None
    output: str = ""
    exit_codes: list[int] = field(default_factory=list)

    def checkpoint(self, name="current.ckpt"):
        return torch.load(self.folder / name, weights_only=True)

    def log(self):
        """What the run, and those before it in the same folder, have logged."""
        whole = self.folder / "train.log"  # main's
        logs = [whole] if whole.exists() else sorted((self.folder / "logs").glob("train*.log"))
        return "".join(log.read_text() for log in logs)

    def predictions(self):
        return sorted(self.folder.rglob("reports/*_*.json"))


def equal(first, second):
    """Whether two states hold the same tensors and numbers, bit for bit."""
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[k], second[k]) for k in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(equal, first, second))
    return first == second


def sizes(**splits):
    """Changes of the yaml file: a dataset with these splits alone."""
    return {"dataset_config.tiny.sizes": {"train": 0, "val": 0, "test": 0, **splits}}


def order_of(loader):
    """The batches of an epoch, as lists of indices, of a split with one dataset."""
    samplers = loader.samplers.values() if isinstance(loader.samplers, dict) else loader.samplers
    (sampler,) = samplers
    return list(sampler)


def assert_same_end(run, other):
    """Whether two runs have left the same checkpoints and weights, bit for bit."""
    for name in ("current.ckpt", "best.ckpt"):
        one, two = run.checkpoint(name), other.checkpoint(name)
        differing = [
            k for k in one if k not in ("config", "epoch_rng") and not equal(one[k], two[k])
        ]
        assert one.keys() == two.keys() and not differing, f"{name}: {differing}"
    assert equal(run.checkpoint("tiny_final.pth"), other.checkpoint("tiny_final.pth"))


def options(folder, opts, changes=None):
    """Options for the tiny plugin's yaml file, or for a copy with some keys changed."""
    config = YAML
    if changes:
        config = Path(folder) / "changed.yaml"
        config.parent.mkdir(parents=True, exist_ok=True)
        yaml = OmegaConf.load(YAML)
        for key, value in changes.items():
            OmegaConf.update(yaml, key, value, merge=False)
        OmegaConf.save(yaml, config)
    return [f"config={config}", f"env.save_dir={folder}", *opts]


def run_here(folder, *opts, predict=False, changes=None):
    """Run MMF in this process and keep its trainer."""
    import mmf_cli.run

    run, stock = Run(Path(folder)), mmf_cli.run.build_trainer

    def build_trainer(config):
        run.trainer = stock(config)
        return run.trainer

    mmf_cli.run.build_trainer = build_trainer
    try:
        mmf_cli.run.run(options(folder, opts, changes), predict=predict)
    finally:
        mmf_cli.run.build_trainer = stock
    return run


def run_processes(
    folder,
    *opts,
    processes=1,
    predict=False,
    changes=None,
    kill_at=None,
    signum=signal.SIGKILL,
    ranks=None,
    tell=os.kill,
):
    """Run MMF in processes of its own, several as torchrun would; all output in one text.

    Args:
        kill_at: a file; when it appears, the processes are killed.
        signum: the signal that they get.
        ranks: those of them that get it; by default all.
        tell: sends it; ``os.killpg`` sends it to their workers as well.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    environment = {}
    if processes > 1:
        from mmf_bridge.common.distributed import free_port

        environment = {
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": str(free_port()),
            "WORLD_SIZE": str(processes),
        }
    outputs = [folder / f"output-{rank}-{time.time_ns()}" for rank in range(processes)]
    started = []
    for rank, output in enumerate(outputs):
        env = {**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)} if environment else {}
        arguments = (str(output), env, options(folder, opts, changes), predict)
        process = _servers.Process(target=_work, args=arguments)
        process.start()
        started.append(process)
    end = time.monotonic() + PATIENCE
    try:
        while any(process.is_alive() for process in started) and time.monotonic() < end:
            if kill_at and Path(kill_at).exists():
                for rank in range(processes) if ranks is None else ranks:
                    tell(started[rank].pid, signum)
                kill_at = None
            time.sleep(0.005)
    finally:
        for process in started:
            process.kill()
            process.join()
    text = "\n".join(output.read_text() for output in outputs if output.exists())
    return Run(folder, output=text, exit_codes=[process.exitcode for process in started])


def run_options(folder, options, predict=False):
    """Run MMF in a process of its own with just these options."""
    output = Path(folder) / f"output-{time.time_ns()}"
    process = _servers.Process(target=_work, args=(str(output), {}, options, predict))
    process.start()
    process.join(PATIENCE)
    process.kill()
    process.join()
    return Run(Path(folder), output=output.read_text(), exit_codes=[process.exitcode])


def _work(output, environment, opts, predict):
    os.environ.update(environment)
    os.setpgrp()
    multiprocessing.set_start_method("fork", force=True)  # as in a process of the command line
    file = os.open(output, os.O_CREAT | os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    torch.set_num_threads(1)
    # What MMF spawns need not import it anew.
    torch.multiprocessing.spawn = partial(
        torch.multiprocessing.start_processes, start_method="fork"
    )
    import mmf_cli.run

    try:
        mmf_cli.run.run(opts, predict=predict)
    except Exception as error:
        sys.stderr.write(f"ended by {type(error).__name__}: {error}\n")  # MMF silences print
        raise
