"""The commands that a run's console names: to go on with it, and to use what it has made."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

# Options that are not those of the command that follows.
_NOT_TAKEN_OVER = frozenset(
    (
        *("run_type", "env.overwrite", "evaluation.predict", "evaluation.untrained"),
        *("checkpoint.resume", "checkpoint.resume_best", "checkpoint.resume_file"),
    )
)
_SAVE_DIR = "env.save_dir"


def command(program: str, config: Any, pairs: Iterable[tuple[str, str]], **added: Any) -> str:
    """A command line of MMF's with the options of this run.

    Args:
        program: ``mmf_run`` or ``mmf_predict``.
        config: MMF's configuration.
        pairs: names and values of the options that this run was started with.
        **added: options of the section ``checkpoint``.
    """
    options = {key: value for key, value in pairs if key not in _NOT_TAKEN_OVER}
    if "MMF_SAVE_DIR" in os.environ:  # another shell may lack it
        options.setdefault(_SAVE_DIR, config.env.save_dir)
    options |= {f"checkpoint.{key}": str(value).lower() for key, value in added.items()}
    words = [f"{key}={value}" for key, value in options.items()]
    return " ".join([*_launcher(program, os.environ), *map(shlex.quote, words)])


def _launcher(program: str, environment: Mapping[str, str]) -> list[str]:
    """The words before the options, those of torchrun where it has started the run."""
    if program == "mmf_run" and "TORCHELASTIC_RUN_ID" in environment:
        processes = environment.get("LOCAL_WORLD_SIZE", "1")
        return ["torchrun", f"--nproc_per_node={processes}", "-m", "mmf_cli.run"]
    return [program]
