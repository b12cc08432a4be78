"""Callbacks (MMF main's alone) that let a test look into a run of several processes."""

import os

import torch
from mmf.common.registry import registry
from mmf.trainers.callbacks.base import Callback
from mmf.utils.configuration import get_mmf_env
from mmf.utils.distributed import get_rank
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook


@registry.register_callback("tiny_keep_weights")
class KeepWeights(Callback):
    """Writes the weights of each process to ``rank<N>.pt`` after its last update."""

    def on_update_end(self, **kwargs):
        trainer = self.trainer
        if trainer.num_updates == trainer.max_updates:
            weights = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
            torch.save(weights, os.path.join(get_mmf_env("save_dir"), f"rank{get_rank()}.pt"))


@registry.register_callback("tiny_count_reductions")
class CountReductions(Callback):
    """Prints a line whenever a process reduces its gradients over all processes."""

    def on_train_start(self, **kwargs):
        def hook(group, bucket):
            print("tiny: gradients reduced", flush=True, force=True)
            return allreduce_hook(group, bucket)

        self.trainer.model.register_comm_hook(None, hook)
