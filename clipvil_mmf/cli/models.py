"""The options of commands that load a model to ask it."""

from __future__ import annotations

from typing import Annotated

import typer

# Of `explaining.METHODS`, which only who makes maps waits for.
METHODS_IN_WORDS = "relevance, rollout or grad_cam"

ModelArgument = Annotated[
    str,
    typer.Argument(
        help="An imported folder, the save_dir of a run of MMF, or org/name of the hub (also "
        "hf://org/name@revision)."
    ),
]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")]
DtypeOption = Annotated[str, typer.Option(help="fp32, bf16 or fp16.")]
BackboneOption = Annotated[
    list[str] | None,
    typer.Option(
        help="A file of a tuned run's backbone, or hf://org/name; by default what the run names."
    ),
]
