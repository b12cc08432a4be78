"""``clipvil export``: a model of ours becomes a file in the published layout, or an ONNX folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipvil_mmf.cli.models import BackboneOption
from clipvil_mmf.config import check_choice

PUBLISHED, ONNX = "published", "onnx"


def command(
    model: Annotated[
        str, typer.Argument(help="A folder of clipvil import, or a run of MMF (its save_dir).")
    ],
    output: Annotated[
        Path, typer.Option(help="The file to write, such as BEST.pth; of onnx the new folder.")
    ],
    layout: Annotated[
        str, typer.Option("--format", help="published: as BEST.pth is; onnx: for onnxruntime.")
    ] = PUBLISHED,
    ddp_prefix: Annotated[
        bool | None,
        typer.Option(
            "--ddp-prefix/--no-ddp-prefix",
            help="Whether keys begin with module.; without either, as in the imported file.",
        ),
    ] = None,
    quantize: Annotated[
        str | None, typer.Option(help="Of onnx: int8 for linear layers of 8 bits.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Of onnx: the largest deviation from torch that is taken.", min=0),
    ] = None,
    backbone: BackboneOption = None,
) -> None:
    """Write a model in the published layout, or for onnxruntime."""
    check_choice("--format", layout, (PUBLISHED, ONNX))
    if layout == ONNX:
        if ddp_prefix is not None:
            raise ValueError("--ddp-prefix is for --format published; leave it out")
        _export_onnx(model, output, quantize, tolerance, backbone)
        return
    for name, value in (
        ("--quantize", quantize),
        ("--tolerance", tolerance),
        ("--backbone", backbone or None),
    ):
        if value is not None:
            raise ValueError(f"{name} is for --format onnx; leave it out")
    # Imported here: each format needs its own.
    from clipvil_mmf.checkpoints.published.convert import export_checkpoint

    report = export_checkpoint(model, output, ddp_prefix)
    typer.echo(
        f"{output}: {report.kind} layout, {report.network} tensors of the network, "
        f"{report.added} of tuning methods, {report.unused} that the network does not use"
    )
    if not report.unused:
        typer.echo("parts that the network does not have (CLIP's text tower, boxes) are not in it")


def _export_onnx(
    model: str,
    output: Path,
    quantize: str | None,
    tolerance: float | None,
    backbone: list[Path] | None,
) -> None:
    if quantize is not None:
        check_choice("--quantize", quantize, ("int8",))
    if output.exists():
        raise ValueError(f"--output {output} exists: remove it, or name another folder")
    # Imported here: what is wrong with the options is said at once.
    import clipvil_mmf
    from clipvil_mmf.deploying.onnx_folder import FP32, check_packages, export_onnx

    check_packages()
    answerer = clipvil_mmf.from_pretrained(model, backbone=backbone or None)
    typer.echo("writing the graph, and comparing it with torch ...", err=True)
    found = export_onnx(answerer, output, quantize or FP32, tolerance)
    typer.echo(
        f"{output}: model.onnx ({quantize or FP32}, {found.size / 2**20:.1f} MiB); on "
        f"{found.checked} random batches it deviates from torch by at most {found.scores:.1e} of "
        f"the largest score, {found.probabilities:.1e} in a probability"
    )
