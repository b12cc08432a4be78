"""``clipvil serve``: a model behind HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from clipvil_mmf.cli.models import BackboneOption, DeviceOption, DtypeOption, ModelArgument
from clipvil_mmf.cli.pages import HostOption, ThresholdOption
from clipvil_mmf.extras import check_extra

_PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}


def command(
    model: ModelArgument,
    host: HostOption = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for a free one.", min=0, max=65535)] = 8000,
    max_batch: Annotated[
        int, typer.Option(help="Questions that are computed together, at most.", min=1)
    ] = 16,
    max_wait: Annotated[
        float, typer.Option(help="Milliseconds that a request waits for others.", min=0, max=60_000)
    ] = 5.0,
    max_waiting: Annotated[
        int, typer.Option(help="Requests at once; more are told to come later.", min=1)
    ] = 64,
    max_upload: Annotated[int, typer.Option(help="Largest image file, in MiB.", min=1)] = 10,
    max_pixels: Annotated[
        float, typer.Option(help="Of an image, in millions.", min=0, max=10_000)
    ] = 50,
    max_questions: Annotated[int, typer.Option(help="Of a request.", min=1)] = 32,
    max_question_length: Annotated[int, typer.Option(help="In characters.", min=1)] = 500,
    timeout: Annotated[
        float, typer.Option(help="Seconds from a request to its answer.", min=0, max=86_400)
    ] = 30.0,
    threshold: ThresholdOption = 0.0,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "fp32",
    backbone: BackboneOption = None,
) -> None:
    """Answer over HTTP: POST /answer, GET /health, GET /metrics."""
    check_extra("clipvil serve", "serve", _PACKAGES)
    # Imported here: what is wrong with the options is said at once.
    import clipvil_mmf
    from clipvil_mmf.deploying.asking import Limits
    from clipvil_mmf.deploying.server import serve
    from clipvil_mmf.deploying.service import Service

    limits = Limits(
        upload=max_upload * 2**20,
        pixels=int(max_pixels * 1e6),
        questions=max_questions,
        question_length=max_question_length,
        waiting=max_waiting,
        timeout=timeout,
    )
    serve(
        Service(limits, max_batch, max_wait / 1e3, threshold),
        lambda: clipvil_mmf.from_pretrained(model, device, dtype, backbone or None),
        host,
        port,
        typer.echo,
    )
