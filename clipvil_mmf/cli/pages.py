"""The options of commands that are asked on a port."""

from __future__ import annotations

from typing import Annotated

import typer

HostOption = Annotated[
    str, typer.Option(help="0.0.0.0 lets other machines in; there is no password.")
]
ThresholdOption = Annotated[
    float, typer.Option(help="Confidence below which it does not answer.", min=0, max=1)
]
