"""``clipvil export``: a model of ours becomes a file in the published layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipvil_mmf.checkpoints.published.convert import export_checkpoint


def command(
    model: Annotated[
        Path, typer.Argument(help="A folder of clipvil import, or a run of MMF (its save_dir).")
    ],
    output: Annotated[Path, typer.Option(help="The file to write, such as BEST.pth.")],
    ddp_prefix: Annotated[
        bool | None,
        typer.Option(
            "--ddp-prefix/--no-ddp-prefix",
            help="Whether keys begin with module.; without either, as in the imported file.",
        ),
    ] = None,
) -> None:
    """Write a model in the published layout."""
    report = export_checkpoint(model, output, ddp_prefix)
    typer.echo(
        f"{output}: {report.kind} layout, {report.network} tensors of the network, "
        f"{report.added} of tuning methods, {report.unused} that the network does not use"
    )
    if not report.unused:
        typer.echo("parts that the network does not have (CLIP's text tower, boxes) are not in it")
