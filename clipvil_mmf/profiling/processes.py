"""A process for each method: none finds memory that another one has left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch

from clipvil_mmf.config import ConfigError, check_choice, from_config
from clipvil_mmf.layers.dtypes import PRECISIONS
from clipvil_mmf.loss_functions import class_cross_entropy, scaled_bce, scaled_mce
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.optim import AdamWSGD, GroupsConfig, parameter_groups
from clipvil_mmf.pretraining import PretrainingNetwork
from clipvil_mmf.profiling.batch import BatchSizes, synthetic_batch
from clipvil_mmf.profiling.measure import Figures, Parameters, measure
from clipvil_mmf.tasks import Task, build_task
from clipvil_mmf.user_dir import import_user_dir
from mmf_bridge.common.parent import end_with

OWN_OPTIMIZER = "clipvil_adamw_sgd"
# Those in the published scale; MMF's logit_bce is in that of LXMERT's, too.
SCALED = {"clipvil_bce": scaled_bce, "logit_bce": scaled_bce, "clipvil_mce": scaled_mce}
LOSSES = (*SCALED, "clipvil_cross_entropy", "cross_entropy")


@dataclass
class Request:
    """One network to measure, as plain values: it travels to a process of its own as JSON."""

    sections: dict[str, Any]  # as `ClipVilNetwork.from_config` takes them, `tuning` included
    answers: int  # the classifier's rows
    optimizer: dict[str, Any]  # MMF's section: `type`, `params`, `groups`
    losses: list[dict[str, Any]] | None  # MMF's list of them; None for the task's
    max_norm: float | None = None  # of clipped gradients, None for no clipping
    sizes: BatchSizes = field(default_factory=BatchSizes)
    precision: str = "fp32"  # or bf16
    device: str = "cpu"  # or cuda, cuda:1 ...
    repeats: int = 3  # of each measurement
    task: Any = "vqa"  # its name, or `{type: ..., params: {...}}`
    user_dirs: list[str] = field(default_factory=list)  # whose components sections may name


@dataclass(frozen=True)
class Row:
    """What became of a method."""

    method: str
    figures: Figures | None = None  # None where it could not be measured
    reason: str = ""  # why not
    fits: bool = True  # False where it does not suit the network, or that is misconfigured


def measure_apart(method: str, request: Request) -> Row:
    """Perform a request in a fresh process; `method` is its name in the row."""
    command = [sys.executable, "-m", "clipvil_mmf.profiling.processes", str(os.getpid())]
    done = subprocess.run(
        command, input=json.dumps(asdict(request)), capture_output=True, text=True
    )
    if done.returncode < 0:
        reason = f"its process was ended by signal {-done.returncode}"
        wants = "; the memory was too small" if done.returncode == -9 else ""
        return Row(method, reason=reason + wants)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["its process ended without a message"]
        return Row(method, reason=lines[-1])
    answer = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        return Row(method, reason=answer["error"], fits=False)
    figures = answer["figures"]
    return Row(method, Figures(**{**figures, "parameters": Parameters(**figures["parameters"])}))


def perform(request: Request) -> Figures:
    """Build the network and its optimizer, and measure them.

    Raises:
        ConfigError: a section is wrong, or the tuning method does not suit the network.
    """
    check_choice("precision", request.precision, PRECISIONS)
    task = build_task(request.task)
    torch.manual_seed(0)
    kind = PretrainingNetwork if task.pretrains else ClipVilNetwork
    labels = request.answers if task.has_head else 0
    network = kind.from_config(**request.sections, num_labels=labels, passes=task.passes)
    device = torch.device(request.device)
    network.to(device)
    optimizer, loss = _optimizer(network, request.optimizer), _loss(request.losses, task)
    batch = synthetic_batch(network, request.sizes, labels, task, device)
    settings = request.max_norm, request.precision, request.repeats
    return measure(network, optimizer, loss, batch, *settings)


def _optimizer(network: ClipVilNetwork, section: dict[str, Any]) -> torch.optim.Optimizer:
    """The optimizer over the groups that a run of MMF would have."""
    name = section.get("type")
    kind = AdamWSGD if name == OWN_OPTIMIZER else getattr(torch.optim, str(name), None)
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
        raise ConfigError(
            f"optimizer.type: {name!r} cannot be measured; choose {OWN_OPTIMIZER} or one of "
            "torch.optim's, such as AdamW."
        )
    config = from_config(GroupsConfig, section.get("groups"), "optimizer.groups")
    groups = parameter_groups(network, network.tower_parameters(), config)
    return kind(groups, **(section.get("params") or {}))


def _loss(losses: list[dict[str, Any]] | None, task: Task) -> Any:
    """The sum of the losses, as a function of the network's output and of targets."""
    if task.pretrains:
        if losses:
            raise ConfigError(f"losses: the task {task.name} has its own; expected none.")
        return lambda output, targets: output.losses.total
    if losses is None:
        return lambda output, targets: task.loss(output.scores.float(), targets)
    task.check_losses([str(loss.get("type")) for loss in losses], "losses")
    if not losses:
        raise ConfigError(f"losses: none is named. Choices: {', '.join(LOSSES)}.")
    terms = []
    for loss in losses:
        check_choice("losses", loss.get("type", ""), LOSSES)
        scale = float((loss.get("params") or {}).get("loss_scale", 1))
        scaled = SCALED.get(loss["type"])
        terms.append(partial(scaled, loss_scale=scale) if scaled else class_cross_entropy)
    return lambda output, targets: sum(term(output.scores.float(), targets) for term in terms)


def main() -> None:
    """Read a request from standard input; print its figures, or why there are none, as JSON.

    The argument is the process that has asked, and with which this one ends.
    """
    end_with(int(sys.argv[1]))
    plain = json.load(sys.stdin)
    request = Request(**{**plain, "sizes": BatchSizes(**plain["sizes"])})
    for user_dir in request.user_dirs:
        import_user_dir(user_dir)
    try:
        answer = {"figures": asdict(perform(request))}
    except ConfigError as e:
        answer = {"error": str(e)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
