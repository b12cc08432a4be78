"""``clipvil merge``: a tuned run and its backbone become one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipvil_mmf.checkpoints.tuned import merge
from clipvil_mmf.cli.models import BackboneOption


def command(
    tuned: Annotated[
        Path, typer.Argument(help="A tuned run of MMF (its save_dir), or its tuned.safetensors.")
    ],
    output: Annotated[Path, typer.Option(help="The folder to make.")],
    backbone: BackboneOption = None,
) -> None:
    """Write a tuned run as a model that stands alone."""
    report = merge(tuned, output, backbone or None)
    typer.echo(
        f"{output}: the backbone with {report.trained} tensors that {report.method} has trained; "
        f"as a network, tuning.method is {report.merged_method}"
    )
