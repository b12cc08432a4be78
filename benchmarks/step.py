"""What a step costs: ours in each precision, plain and compiled, and the published code beside it.

    python benchmarks/step.py [--published CHECKOUT ...]

A batch is shaped like VQA v2's, with several questions on each image; weights are random. All
variants of a row take turns in one process, with a large matrix product before and after each,
so that ratios and shares hold on a machine that others use as well. A checkout of the published
code (see published_code.py) computes on the same weights; its fine-tuning in full needs 2 GiB of
memory for every question.
"""

from __future__ import annotations

import argparse
import copy
import gc
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from unittest import mock

import published_code
import torch
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.optim import AdamWSGD, GroupsConfig, parameter_groups
from clipvil_mmf.profiling.measure import matmul_rate
from clipvil_mmf.profiling.memory import peak_memory
from clipvil_mmf.profiling.operations import operations_of
from clipvil_mmf.tasks import build_task
from mmf_bridge.common.allocator import keep_freed_memory
from mmf_bridge.common.compiling import compile_model

PREDICTION, FULL, UNIPT = "prediction", "full step", "UniPT step"
STEPS = {"prediction": PREDICTION, "full": FULL, "unipt": UNIPT}
PRECISIONS = ("fp32", "bf16")
FROZEN = "frozen"  # compiled with `freezing`: weights are constants, which fits a prediction alone
MODES = ("plain", "compiled", FROZEN)
PUBLISHED = "published"
LABELS, TOKENS = 3129, 20

# --size -> the sections of the network, height and width of an image.
TINY = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 200}
SIZES = {
    "published": ({"name": "RN50x4"}, {}, (384, 640)),
    "tiny": (
        {"tower": {"layers": [1, 1, 1, 1], "width": 8}},
        {**TINY, "num_hidden_layers": 2},
        (64, 96),
    ),
}


@dataclass
class Variant:
    """One way to do a step, and what was measured of it."""

    name: str  # of MODES, or published
    precision: str
    work: Callable[[], object]
    seconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)  # of the product before and after each
    growth: int = 0  # bytes
    fits: bool = True  # in the device's memory


def build(step: str, size: str, tower: dict, device: str) -> ClipVilNetwork:
    """Our network for a step."""
    encoder, fusion, _ = SIZES[size]
    unipt = {"method": "unipt", "params": {"reduction_factor": 2}}
    with torch.device(device):
        return ClipVilNetwork.from_config(
            image_encoder={"type": "clip_grid", "params": {**encoder, **tower}},
            fusion={"type": "joint", "params": fusion},
            classifier={"type": "mlp"},
            num_labels=LABELS,
            tuning=unipt if step == UNIPT else None,
        )


def inputs_for(network: ClipVilNetwork, size: str, images: int, questions: int) -> tuple:
    """Images, and questions of 5 to 20 word pieces on them in turn."""
    draw = torch.Generator().manual_seed(0)
    words = network.fusion.config.vocab_size
    ids = torch.randint(1, words, (questions, TOKENS), generator=draw)
    lengths = torch.randint(5, TOKENS + 1, (questions, 1), generator=draw)
    return (
        torch.randn(images, 3, *SIZES[size][2], generator=draw),
        torch.arange(questions) * images // questions,
        ids,
        (torch.arange(TOKENS) < lengths).long(),
        torch.zeros_like(ids),
    )


def in_mode(network: ClipVilNetwork, mode: str) -> ClipVilNetwork:
    """The network as one of `MODES` runs it; its modules and weights are the same ones."""
    if mode == "plain":
        return network
    network = copy.copy(network)
    compile_model(network, {"freezing": mode == FROZEN})
    return network


def work_of(step: str, network: nn.Module, precision: str, inputs: tuple):
    """The step as a function without arguments.

    Prediction is a forward pass; a training step is forward, loss, backward, clip and update.
    """
    device = inputs[0].device
    targets = torch.rand(len(inputs[1]), LABELS, device=device)
    loss = build_task("vqa").loss

    def scores() -> Tensor:
        is_bf16 = precision == "bf16"
        with torch.autocast(device.type, torch.bfloat16) if is_bf16 else nullcontext():
            output = network(*inputs)
        return output.scores if hasattr(output, "scores") else output

    def predict() -> None:
        network.eval()
        with torch.inference_mode():
            scores()

    if step == PREDICTION:
        return predict
    config = GroupsConfig(tower={"algorithm": "sgd"})
    tower = (p for name, p in network.named_parameters() if "tower." in name or "visual." in name)
    optimizer = AdamWSGD(parameter_groups(network, tower, config), lr=1e-5)

    def train() -> None:
        network.train()
        loss(scores().float(), targets).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return train


def operations(step: str, size: str, inputs: tuple) -> int:
    """Floating-point operations that a step needs: without those that trade time for memory.

    Counted on the device `meta`, which computes nothing, and where nothing is done by hand.
    """
    network = build(step, size, {}, "meta")
    inputs = tuple(tensor.to("meta") for tensor in inputs)
    work = work_of(step, network, "fp32", inputs)
    recomputing = "clipvil_mmf.layers.recompute.checkpoint"
    with mock.patch(recomputing, lambda layer, *inputs, **_: layer(*inputs)):
        return operations_of(work)


def variants_of(
    step: str, arguments: argparse.Namespace, device: torch.device
) -> tuple[list[Variant], int]:
    """What takes turns in a row, and the operations of its step."""
    torch.manual_seed(0)
    network = build(step, arguments.size, arguments.tower, "cpu").to(device)
    inputs = inputs_for(network, arguments.size, arguments.images, arguments.questions)
    count = operations(step, arguments.size, inputs)
    inputs = tuple(tensor.to(device) for tensor in inputs)
    modes = [mode for mode in arguments.modes if mode != FROZEN or step == PREDICTION]
    forwards = {mode: in_mode(network, mode) for mode in modes}
    variants = [
        Variant(mode, precision, work_of(step, forwards[mode], precision, inputs))
        for mode in modes
        for precision in arguments.precisions
    ]
    folders = [published_code.network_folder(path) for path in arguments.published]
    if step == UNIPT:
        folders = [folder for folder in folders if published_code.has_unipt(folder)]
    if folders:
        theirs = published_code.published_network(folders[0], network, step == UNIPT).to(device)
        published_code.check_scores(network, theirs, inputs)
        work = work_of(step, theirs, "fp32", inputs)
        variants.append(Variant(PUBLISHED, "fp32", work))
    return variants, count


def measure(variants: list[Variant], rounds: int, device: torch.device) -> None:
    """Let the variants take turns; each has one step before, and one for its memory."""

    def synchronize() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for variant in variants:
        try:
            variant.work()
            variant.growth = peak_memory(variant.work, device).growth
        except torch.OutOfMemoryError:
            variant.fits = False
            torch.cuda.empty_cache()
    fitting = [variant for variant in variants if variant.fits]
    for _ in range(rounds):
        for variant in fitting:
            before = matmul_rate(device, variant.precision)
            synchronize()
            began = time.perf_counter()
            variant.work()
            synchronize()
            variant.seconds.append(time.perf_counter() - began)
            variant.rates.append((before + matmul_rate(device, variant.precision)) / 2)


def rows_of(step: str, variants: list[Variant], count: int) -> list[list[str]]:
    """The lines of the table for a step."""
    published = next((v.seconds for v in variants if v.name == PUBLISHED and v.fits), None)
    lines = []
    for variant in variants:
        if not variant.fits:
            cells = ("out of memory", "-", "-", "-", "-")
            lines.append([step, variant.precision, variant.name, *cells])
            continue
        shares = [count / s / r for s, r in zip(variant.seconds, variant.rates, strict=True)]
        pairs = zip(published or [], variant.seconds, strict=False)
        ratios = [theirs / ours for theirs, ours in pairs]
        is_ours = variant.name != PUBLISHED
        lines.append(
            [
                step,
                variant.precision,
                variant.name,
                f"{median(variant.seconds):.3f}",
                f"{median(ratios):.1f}x" if ratios else "-",
                f"{median(shares):.0%}" if is_ours else "-",
                f"{count / 1e9:,.0f}" if is_ours else "-",
                f"{variant.growth / 2**20:,.0f}",
            ]
        )
    return lines


def main() -> None:
    """Measure what the command line asks for, and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="published")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--questions", type=int, default=11, help="on all images together")
    parser.add_argument("--steps", default=",".join(STEPS), help="of these, with commas")
    parser.add_argument("--precisions", default=",".join(PRECISIONS), help="of these, with commas")
    parser.add_argument("--modes", default=",".join(MODES), help="of these, with commas")
    parser.add_argument("--published", type=Path, nargs="*", default=[], metavar="CHECKOUT")
    parser.add_argument("--rounds", type=int, default=3, help="medians of so many are shown")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--tower",
        nargs="*",
        default=["fold_batch_norm=true"],
        metavar="KEY=VALUE",
        help="image_encoder.params; by default fold_batch_norm=true",
    )
    arguments = parser.parse_args()
    arguments.tower = OmegaConf.to_container(OmegaConf.from_dotlist(arguments.tower))
    for key, choices in (("steps", STEPS), ("precisions", PRECISIONS), ("modes", MODES)):
        chosen = getattr(arguments, key).split(",")
        if not set(chosen) <= set(choices):
            parser.error(f"--{key}: choose of {', '.join(choices)}")
        setattr(arguments, key, chosen)

    device = torch.device(arguments.device)
    if device.type == "cpu":
        keep_freed_memory()  # as a run does
    height, width = SIZES[arguments.size][2]
    table = Table(
        title=f"{arguments.questions} questions on {arguments.images} images of {height}x{width}, "
        f"{device.type}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        caption="published: its time divided by ours. product: the step's operations per second, "
        "as a share of what a large matrix product of the same precision reaches. memory: what a "
        f"step takes beside weights and optimizer. image_encoder.params: {arguments.tower}",
    )
    for name in ("step", "precision", "mode", "seconds", "published", "product", "GFLOP"):
        table.add_column(name, justify="left" if name in ("step", "precision", "mode") else "right")
    table.add_column("memory MiB", justify="right")
    for step in arguments.steps:
        variants, count = variants_of(STEPS[step], arguments, device)
        measure(variants, arguments.rounds, device)
        for line in rows_of(STEPS[step], variants, count):
            table.add_row(*line)
        del variants
        torch.compiler.reset()
        gc.collect()
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
