"""``clipvil config``: what a run would run with, key by key, and where each value comes from."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from clipvil_mmf.cli.profile import read_settings
from clipvil_mmf.config import ConfigError
from clipvil_mmf.describing.keys import Key, keys_in_effect
from clipvil_mmf.describing.printing import as_yaml
from clipvil_mmf.describing.schema import json_schema


def command(
    config: Annotated[
        str | None, typer.Argument(help="The yaml file that mmf_run takes.", metavar="FILE")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Options of mmf_run, such as training.batch_size=8."),
    ] = None,
    docs: Annotated[
        bool, typer.Option("--docs", help="Say what each key means, its type and choices.")
    ] = False,
    search: Annotated[
        str | None, typer.Option(help="Only keys in whose name or description this word is.")
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of yaml files for editors.")
    ] = False,
) -> None:
    """Print the merged configuration of a yaml file: defaults, includes and options."""
    if schema:
        typer.echo(json.dumps(json_schema(), indent=1))
        return
    if config is None:
        raise ConfigError("FILE: name a yaml file, as projects/clipvil/configs/vqa2.yaml.")
    options = [f"config={config}", *(overrides or [])]
    keys = keys_in_effect(read_settings(config, overrides or []), options)
    if search is not None:
        keys = [key for key in keys if _has(key, search)]
    typer.echo(as_yaml(keys, docs or search is not None), nl=False)


def _has(key: Key, word: str) -> bool:
    return word.lower() in f"{key.key} {key.description}".lower()
