"""The first lines of a run: what will run, on what, and where it saves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from mmf_bridge.common.console import labelled, log_file
from mmf_bridge.common.distributed import get_world_size, unwrap
from mmf_bridge.common.loading import cores, worker_count
from mmf_bridge.common.progress import short

_SPLITS = ("train", "val", "test")


def headline(config: Any, predict: bool) -> str:
    """What a run does, before its data and model are loaded."""
    does = "predicts" if predict or config.evaluation.predict else config.run_type
    what = f"{config.model} on {config.datasets}, {does}"
    return labelled("run", f"{what}; the log is {log_file()}")


def outline(trainer: Any, predict: bool) -> list[str]:
    """What is going to run, a line a theme; the trainer has loaded all of it.

    Args:
        trainer: of either line.
        predict: whether it will only predict.
    """
    config = trainer.config
    trains = not predict and "train" in trainer.run_type
    lines = [
        labelled("model", describe_model(unwrap(trainer.model))),
        labelled("data", describe_data(trainer)),
    ]
    if trains:
        lines.append(labelled("recipe", describe_recipe(trainer)))
        lines.append(labelled("length", describe_length(trainer)))
    lines.append(labelled("device", describe_device(trainer)))
    if trains:
        best = "" if trainer.early_stopping is None else _judged_by(trainer)
        lines.append(labelled("saves", f"{config.env.save_dir}{best}"))
        lines.append(labelled("resume", "the same command with checkpoint.resume=true"))
    return lines


def _judged_by(trainer: Any) -> str:
    if not trainer.val_loader.num_datasets:
        return ""
    return f", the best by {trainer.early_stopping.early_stop_criteria}"


def describe_model(model: nn.Module) -> str:
    """The numbers of parameters and of trainable ones, in all and by part."""
    trainable, total = count_parameters(model.parameters())
    parts = []
    for name, part in parts_of(model):
        own_trainable, own = count_parameters(part.parameters())
        if own:
            parts.append(f"{name} {_share(own_trainable, own)}")
    whole = "all trainable" if trainable == total else f"{trainable:,} trainable"
    return f"{total:,} parameters, {whole}\n{', '.join(parts)}"


def _share(trainable: int, total: int) -> str:
    if trainable == total:
        return f"{total:,}"
    return f"{total:,} ({trainable:,} trainable)" if trainable else f"{total:,} (frozen)"


def count_parameters(parameters: Iterable[nn.Parameter]) -> tuple[int, int]:
    """How many numbers are trainable, and how many there are."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in parameters]
    return sum(size for size, is_trained in sizes if is_trained), sum(size for size, _ in sizes)


def parts_of(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules that a model is made of: its children, or those of the only one with weights."""
    while True:
        parts = [
            (name, child)
            for name, child in model.named_children()
            if next(child.parameters(), None) is not None
        ]
        if len(parts) != 1 or next(parts[0][1].children(), None) is None:
            return parts
        model = parts[0][1]


def describe_data(trainer: Any) -> str:
    """How many samples each dataset has in its splits, a line a dataset."""
    found: dict[str, list[str]] = {}
    for split in _SPLITS:
        for dataset in getattr(trainer, f"{split}_loader").get_datasets():
            count = f"{len(dataset):,}" if hasattr(dataset, "__len__") else "a stream"
            found.setdefault(dataset.dataset_name, []).append(f"{split} {count}")
    return "\n".join(f"{name}: {', '.join(splits)}" for name, splits in found.items())


def describe_recipe(trainer: Any) -> str:
    """Optimizer, learning rate, schedule, batch size and seed."""
    config, training = trainer.config, trainer.config.training
    parts = [str(config.optimizer.type), f"lr {_learning_rates(config, trainer.optimizer)}"]
    if trainer.lr_scheduler is not None:
        parts.append(str(config.scheduler.type))
    batch = f"batch {training.batch_size:,}"
    if training.update_frequency > 1:
        batch += f" x {training.update_frequency} accumulated"
    parts.append(batch)
    if training.clip_gradients:
        parts.append(f"gradients clipped at {training.max_grad_l2_norm}")
    parts.append(f"seed {training.seed}")
    return ", ".join(parts)


def _learning_rates(config: Any, optimizer: Any) -> str:
    # A schedule has set the groups' own to those of update 0 already.
    groups = optimizer.param_groups
    rates = dict.fromkeys(group.get("initial_lr", group["lr"]) for group in groups)
    return " and ".join(short(rate) for rate in rates)


def describe_length(trainer: Any) -> str:
    """Updates, epochs, and what happens after how many."""
    training, run = trainer.config.training, trainer.run_length
    text = f"{run.max_updates:,} updates"
    if run.updates_per_epoch:
        epochs = run.max_updates / run.updates_per_epoch
        text += f" = {epochs:.3g} epochs of {run.updates_per_epoch:,}"
    if trainer.num_updates:
        text += f", {trainer.num_updates:,} of them done"
    text += f"; a line every {training.log_interval:,}"
    evaluates = trainer.val_loader.num_datasets > 0
    if evaluates:
        text += f", validation every {training.evaluation_interval:,}"
    return text + f", checkpoint every {training.checkpoint_interval:,}"


def describe_device(trainer: Any) -> str:
    """Device, processes, threads, precision and the loaders' workers."""
    device, training = torch.device(trainer.device), trainer.config.training
    name = "cpu"
    if device.type == "cuda":
        name = f"{device} ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    parts = [name, *_processes(), _counted(threads, "thread"), trainer.precision.name]
    if trainer.compile_options is not None:
        parts.append("compiled")
    workers = worker_count(training.num_workers)
    if workers < training.num_workers:
        cut = f"not {training.num_workers}, as there are {_counted(cores(), 'core')}"
        parts.append(f"{_counted(workers, 'worker')} ({cut})")
    else:
        parts.append(_counted(workers, "worker") if workers else "no workers")
    return ", ".join(parts)


def _processes() -> Iterator[str]:
    if get_world_size() > 1:
        yield f"{get_world_size()} processes"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
