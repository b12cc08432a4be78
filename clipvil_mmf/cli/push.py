"""``clipvil push``: a model to the Hugging Face hub, with a model card."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from clipvil_mmf.cli.models import BackboneOption


def command(
    model: Annotated[
        str, typer.Argument(help="The save_dir of a run of MMF, or an imported folder.")
    ],
    name: Annotated[str, typer.Argument(help="Of the repository: org/name.")],
    private: Annotated[
        bool, typer.Option("--private", help="Make a private repository, if there is none.")
    ] = False,
    revision: Annotated[
        str | None, typer.Option(help="A branch, made if there is none; by default main.")
    ] = None,
    commit_message: Annotated[
        str | None, typer.Option(help="By default it names the model.")
    ] = None,
    license: Annotated[
        str | None, typer.Option(help="Of the weights, as the hub names it, such as mit.")
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Push a tuned run merged with its backbone.")
    ] = False,
    backbone: BackboneOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Upload nothing: show the files and the card.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="Upload nothing: write the files into this new folder.")
    ] = None,
) -> None:
    """Push a model to the Hugging Face hub."""
    # Imported here: `clipvil push --help` does without.
    from clipvil_mmf.sharing import pushing

    pushing.check_name(name)
    if not dry_run and output is None:
        pushing.check_login()  # before the model is read
    with tempfile.TemporaryDirectory(prefix="clipvil-push-") as scratch:
        folder = output or Path(scratch, "model")
        what = pushing.write_shared(model, folder, name, backbone or None, merge, license)
        files = sorted(folder.iterdir())
        size = sum(file.stat().st_size for file in files) / 1e6
        listed = ", ".join(file.name for file in files)
        typer.echo(f"{what}: {listed} ({size:,.1f} MB)")
        if dry_run:
            typer.echo((folder / pushing.CARD).read_text(encoding="utf-8"))
        if dry_run or output is not None:
            where = f"written to {output}; " if output is not None else ""
            typer.echo(f"{where}nothing was uploaded")
            return
        message = commit_message or f"Upload {what.split(',')[0].split(':')[0]} of clipvil"
        typer.echo(pushing.push(folder, name, private, revision, message))
