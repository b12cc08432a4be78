"""``run(opts=...)``: one process, processes that MMF spawns, or one of torchrun's."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from multiprocessing.connection import wait
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from mmf_bridge.common.commandline import option_pairs
from mmf_bridge.common.compiling import check_freezing
from mmf_bridge.common.console import say
from mmf_bridge.common.device import gpu_number
from mmf_bridge.common.distributed import (
    TO_GO_ON,
    broadcast_object,
    free_port,
    get_rank,
    peers_watched,
)
from mmf_bridge.common.interruption import SIGNALS, Interrupted, interruption
from mmf_bridge.common.option_values import check_splits, idle_max_updates
from mmf_bridge.common.outline import headline
from mmf_bridge.common.parent import end_with
from mmf_bridge.common.replace import replace
from mmf_bridge.common.resuming import check_weights
from mmf_bridge.common.same_names import log_choices
from mmf_bridge.common.save_dir import reserved
from mmf_bridge.common.user_errors import one_line_errors
from mmf_bridge.tracking.settings import check_trackers
from mmf_bridge.tracking.trackers import begin

logger = logging.getLogger(__name__)

_POLL = 0.5  # seconds between two looks at whether a signal has come
_PATIENCE = 60.0  # seconds for the other processes to end once the first one has
_CLOSING = 5.0  # seconds for them to see that one was killed
_INTERRUPTED = tuple(128 + signum for signum in SIGNALS)
# What main's modules put into the registry as they are imported, and expect there for ever.
_KEPT = "original_patch_functions"


def patch(module: ModuleType, begin: Callable[[Any], Any]) -> None:
    """Give ``mmf_cli.run`` one signature and one meaning on both lines, on CPU and GPU.

    ``begin`` starts logging and builds the trainer of a ``Configuration``.
    """
    registry = module.registry

    def main(configuration: Any, init_distributed: bool = False, predict: bool = False) -> None:
        module.setup_imports()
        configuration.import_user_dir()
        config = configuration.get_config()
        # An initialised CUDA makes MMF move batches there, also where training.device is cpu.
        if torch.cuda.is_available() and config.training.device != "cpu":
            torch.cuda.set_device(config.device_id)
            torch.cuda.init()
        if init_distributed:
            module.distributed_init(config)
        registry.register("seed_given", seed_processes(config.training, module.set_seed))
        registry.register("seed", config.training.seed)
        registry.register("options", option_pairs(configuration.args.opts))
        work(begin(configuration), predict)

    def distributed_main(
        device_id: int, configuration: Any, predict: bool = False, launcher: int | None = None
    ) -> None:
        if launcher is not None:
            end_with(launcher)
        elif "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun, of which any thread may start ranks
            end_with(os.getppid(), started_by_main_thread=False)
        config = configuration.get_config()
        config.device_id = device_id
        registry.register("config", config)  # a spawned process starts with an empty registry
        if config.distributed.rank is None:
            config.distributed.rank = config.start_rank + device_id
        with interruption.handled(parent=os.getppid()):
            interruption.speaks = not config.distributed.rank
            with peers_watched():
                module.main(configuration, init_distributed=True, predict=predict)

    def run(opts: list[str] | None = None, predict: bool = False) -> None:
        """Start a run from the command line, or from ``opts`` such as ``["config=x.yaml"]``.

        Raises:
            ValueError: an option is wrong, or more processes are asked for than this host has GPUs.
            FileExistsError: a training would overwrite the run in ``env.save_dir``.
            RuntimeError: another run trains there.
            SystemExit: a signal has ended the run; or a user's error has, on the command line.
        """
        with interruption.handled(), one_line_errors() if opts is None else nullcontext():
            configuration = _fresh_configuration(module, opts, predict)
            config = configuration.get_config()
            interruption.speaks = not config.distributed.rank
            with reserved(config, predict):
                _start(module, configuration, predict)

    replace(module, main, distributed_main, run)


def seed_processes(training: Any, set_seed: Callable[[int], int]) -> bool:
    """Seed this process from ``training.seed``; whether the user gave the seed.

    -1 draws a seed, which all processes then share in ``training.seed`` (it names folders); each
    adds its rank for its own numbers, so that they draw different dropout masks. Null seeds
    nothing.
    """
    seed = training.seed
    if seed is None:
        return False
    if seed == -1:
        training.seed = broadcast_object(set_seed(-1))
    set_seed(training.seed + get_rank())
    return seed != -1


def _fresh_configuration(module: ModuleType, opts: list[str] | None, predict: bool) -> Any:
    # What an earlier run of this process has left: its processors and counters.
    state = module.registry.mapping["state"]
    for key in state.keys() - {_KEPT}:
        del state[key]
    configuration = read_configuration(module, opts, predict)
    config = configuration.get_config()
    check_weights(config, predict)
    check_splits(config.run_type, predict)
    check_freezing(config, predict)
    if not predict:
        check_trackers(config.training)
    config.start_rank = config.device_id = 0
    if config.distributed.init_method is None:
        module.infer_init_method(config)
    gpu = gpu_number(str(config.training.device))
    if gpu is not None:
        if config.distributed.init_method is not None:
            raise ValueError(
                f"training.device is {config.training.device}, one GPU for several processes: "
                "training.device=cuda gives each its own"
            )
        config.device_id, config.distributed.world_size = gpu, 1
    return configuration


def _start(module: ModuleType, configuration: Any, predict: bool) -> None:
    config = configuration.get_config()
    world_size = config.distributed.world_size
    if config.distributed.init_method is not None:
        gpus = torch.cuda.device_count()
        if gpus > 1 and not config.distributed.no_spawn:
            config.start_rank = config.distributed.rank
            config.distributed.rank = None
            _spawn(module, configuration, predict, gpus)
        else:
            local_rank = int(os.environ.get("LOCAL_RANK", config.device_id))  # torchrun's
            module.distributed_main(local_rank, configuration, predict)
    elif world_size > 1:
        if torch.cuda.is_available() and world_size > torch.cuda.device_count():
            raise ValueError(
                f"distributed.world_size is {world_size}, but this host has "
                f"{torch.cuda.device_count()} GPUs"
            )
        config.distributed.init_method = f"tcp://localhost:{free_port()}"
        config.distributed.rank = None
        _spawn(module, configuration, predict, world_size)
    else:
        module.main(configuration, predict=predict)


def read_configuration(module: ModuleType, opts: list[str] | None, predict: bool = False) -> Any:
    """MMF's ``Configuration`` of these options (the command line's, if ``opts`` is None)."""
    module.setup_imports()
    args = argparse.Namespace(config_override=None, opts=opts)
    if opts is None:
        args = module.flags.get_parser().parse_args()
    pairs = option_pairs(args.opts)
    if predict and "evaluation.predict" not in dict(pairs):
        pairs.append(("evaluation.predict", "true"))
    args.opts = [f"{key}={value}" for key, value in pairs]
    configuration = module.Configuration(args)
    configuration.args = args
    return configuration


def work(trainer: Any, predict: bool) -> None:
    """Load what a trainer needs, and let it train or predict.

    However that ends, the workers of its data loaders and its trackers end with it.
    """
    from mmf.common.registry import registry

    config = registry.get("config")
    log_choices(registry, config.datasets)
    if get_rank() == 0:
        say(headline(config, predict))
        given = dict(registry.get("options", [], no_warning=True))
        idle = idle_max_updates(config.training, given)
        if idle is not None and not predict:
            logger.warning(idle)
        say("loading data and model ...")
    # One of somebody's own may lack the methods of the bridge's.
    speaks = get_rank() == 0 and hasattr(trainer, "introduce")
    is_complete = False
    try:
        trainer.load()
        if speaks:
            trainer.introduce(predict)
        if speaks and not predict and not config.evaluation.predict:
            trainer.trackers = begin(trainer)
        if predict:
            trainer.inference()
        else:
            trainer.train()
        if speaks:
            trainer.sum_up(predict)
        is_complete = True
    finally:
        if hasattr(trainer, "progress"):
            trainer.progress.hide()
        for split in ("train", "val", "test"):
            loader = getattr(trainer, f"{split}_loader", None)
            if hasattr(loader, "stop_workers"):
                loader.stop_workers()
        if speaks:
            trainer.trackers.close(is_complete)
        # Left to the interpreter's end, closing may wait for a thread that is gone by then.
        tensorboard = tensorboard_logger(trainer)
        if tensorboard is not None:
            tensorboard.close()


def tensorboard_logger(trainer: Any) -> Any:
    """The ``TensorboardLogger`` of a trainer of either line; None where it has none."""
    return getattr(getattr(trainer, "logistics_callback", trainer), "tb_writer", None)


def _spawn(module: ModuleType, configuration: Any, predict: bool, processes: int) -> None:
    """Start the processes, wait for their end, and pass on to them what signals ask.

    Raises:
        RuntimeError: one was killed; the others have been ended.
    """
    interruption.waits = True
    spawned = torch.multiprocessing.spawn(
        fn=module.distributed_main,
        args=(configuration, predict, os.getpid()),
        nprocs=processes,
        join=False,
    )
    passed_on = False
    try:
        while True:
            for sentinel in wait(spawned.sentinels, _POLL):
                spawned.processes[spawned.sentinels[sentinel]].join()
            if interruption.asked is None:
                _check_alive(spawned)
            if spawned.join(0, grace_period=_PATIENCE if passed_on else None):
                return
            if interruption.asked is not None and not passed_on:
                passed_on = True
                for process in spawned.processes:
                    process.terminate()
    except torch.multiprocessing.ProcessExitedException as error:
        if interruption.asked is None and error.exit_code < 0:  # since the look above
            raise _killed(error.error_index, -error.exit_code) from None
        if interruption.asked is None and error.exit_code not in _INTERRUPTED:
            raise
        # One that was killed before it could handle signals has said nothing.
        said = error.exit_code in _INTERRUPTED
        signum = interruption.asked or error.exit_code - 128
        message = "" if said else f"Interrupted: {interruption.loses}"
        raise Interrupted(signum, message) from None
    finally:
        for process in spawned.processes:
            if process.is_alive():
                process.kill()
            process.join()
        for file in spawned.error_files:  # where torch has them write their tracebacks
            Path(file).unlink(missing_ok=True)


def _check_alive(spawned: Any) -> None:
    """Raise ``RuntimeError`` if a process was killed, once the others have ended as well."""
    codes = [process.exitcode for process in spawned.processes]
    killed = {rank: -code for rank, code in enumerate(codes) if code is not None and code < 0}
    if not killed:
        return
    # They find their connections closed, and end; one that does not see it is ended.
    end = time.monotonic() + _CLOSING
    for process in spawned.processes:
        process.join(max(0.0, end - time.monotonic()))
    raise _killed(*next(iter(killed.items())))


def _killed(rank: int, signum: int) -> RuntimeError:
    short = " (is memory short?)" if signum == signal.SIGKILL else ""
    return RuntimeError(
        f"Rank {rank} was killed by {signal.Signals(signum).name}{short}: the run ends. {TO_GO_ON}"
    )


def patch_predict(module: ModuleType) -> None:
    """Let ``predict`` take options, and leave ``sys.argv`` alone."""

    def predict(opts: list[str] | None = None) -> None:
        """Write predictions, by the command line's options or by ``opts``."""
        module.run(opts, predict=True)

    replace(module, predict)
