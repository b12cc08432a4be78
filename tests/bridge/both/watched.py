"""Runs in processes of their own that write down what each of them has seen."""

import itertools
import os
from pathlib import Path

import torch

from tests.bridge import runs

_stock_work = runs._work


def work(output, environment, opts, predict):
    """Runs once, or for each list of options in turn, and keeps every process's weights."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    from mmf_bridge.common.distributed import get_rank, unwrap
    from mmf_bridge.common.trainer import Trainer

    reductions = []
    stock_train, stock_ended = Trainer.training_loop, Trainer._training_ended

    def train(self):
        from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

        def hook(group, bucket):
            reductions.append(self.num_updates)
            return allreduce_hook(group, bucket)

        if hasattr(self.model, "register_comm_hook"):
            self.model.register_comm_hook(None, hook)
        stock_train(self)

    def ended(self):
        seen = {
            "weights": unwrap(self.model).state_dict(),
            "num_updates": self.num_updates,
            "local_rank": self.local_rank,
            "reductions": len(reductions),
            "wrapper": type(self.model).__name__,
        }
        torch.save(seen, os.path.join(self.checkpoint.ckpt_foldername, f"rank{get_rank()}.pt"))
        stock_ended(self)

    from mmf.utils.early_stopping import EarlyStopping

    stock_call, calls = EarlyStopping.__call__, itertools.count()

    def call(self, update, iteration, meter):
        # Rank 1 would always see an improvement: the decision must be rank 0's.
        figure = meter.meters[self.early_stop_criteria]
        figure.total += 10.0 * get_rank() * next(calls) * figure.total_samples
        return stock_call(self, update, iteration, meter)

    EarlyStopping.__call__ = call
    Trainer.training_loop, Trainer._training_ended = train, ended
    _stock_work(output, environment, opts, predict)


def work_through(output, environment, opts, predict):
    """Runs for every `env.save_dir` and the options that the folder's file `each` lists."""
    folder = next(opt.split("=", 1)[1] for opt in opts if opt.startswith("env.save_dir="))
    rest = [opt for opt in opts if not opt.startswith("env.save_dir=")]
    start = _stock_work
    for number, line in enumerate(Path(folder, "each").read_text().splitlines()):
        each = [*rest, f"env.save_dir={os.path.join(folder, str(number))}", *line.split()]
        start(output, environment, each, predict)
        start = _run


def _run(output, environment, opts, predict):
    import mmf_cli.run

    mmf_cli.run.run(opts, predict=predict)
