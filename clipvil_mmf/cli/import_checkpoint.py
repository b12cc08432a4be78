"""``clipvil import``: a published checkpoint becomes a folder of safetensors and configuration."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Column, Table

from clipvil_mmf.checkpoints.published.convert import ImportReport, import_checkpoint
from clipvil_mmf.checkpoints.published.layouts import Kind
from clipvil_mmf.tuning import is_added

KindOption = Enum("KindOption", {name: name for name in ("auto", *Kind.__members__)}, type=str)  # type: ignore[misc]


def command(
    checkpoint: Annotated[Path, typer.Argument(help="BEST.pth, Epoch11_LXRT.pth, RN50x4.pt, ...")],
    output: Annotated[
        Path | None,
        typer.Option(help="The folder to make; the checkpoint's name without its ending."),
    ] = None,
    kind: Annotated[
        KindOption, typer.Option(help="What the file holds; auto: told by its keys.")
    ] = KindOption.auto,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A yaml file for what the shapes do not say: sections image_encoder, "
            "visual_embedding, fusion, classifier, tuning, or the config.yaml of a run of MMF."
        ),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(
            help="The answers in the order of the classifier's rows: trainval_label2ans.json; of "
            "a pre-trained checkpoint all_ans.json."
        ),
    ] = None,
    vocab: Annotated[
        Path | None, typer.Option(help="BERT's vocab.txt; without it, bert-base-uncased by name.")
    ] = None,
) -> None:
    """Import a published checkpoint: safetensors and configuration in one folder."""
    folder = output or checkpoint.with_suffix("")
    report = import_checkpoint(
        checkpoint,
        folder,
        kind=None if kind is KindOption.auto else Kind(kind.value),
        config=None if config is None else OmegaConf.load(config),
        answers=answers,
        vocabulary=vocab,
    )
    console = Console(highlight=False, soft_wrap=True)
    console.print(_table(report, checkpoint))
    typer.echo(f"written: {folder}")
    if report.model.labels is None and "classifier" in report.model.description.network:
        typer.echo("answers: not known; import with --answers FILE to ask the model from Python")


def _table(report: ImportReport, checkpoint: Path) -> Table:
    model = report.model
    layout = model.description.layout
    prefix = ", keys with module." if layout["ddp"] else ""
    table = Table(
        "tensors",
        Column("count", justify="right"),
        "where to, or why not",
        title=f"{checkpoint}: {layout['kind']}{prefix}",
    )
    added = sum(map(is_added, model.network))
    loaded = str(len(report.keys.loaded) - added)
    table.add_row("used by the network", loaded, "model.safetensors")
    if added:
        method = model.description.network["tuning"]["method"]
        table.add_row(f"of the method {method}", str(added), "model.safetensors")
    if report.shared:
        table.add_row("of further tasks", str(report.shared), "the same tensors")
    for reason, count in report.keys.reasons().items():
        table.add_row("not used", str(count), reason)
    if model.unused:
        table.add_row(
            "  of these kept", str(len(model.unused)), "unused.safetensors, for the export"
        )
    return table
