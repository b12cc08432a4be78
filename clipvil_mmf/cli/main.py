"""The `clipvil` command.

A subcommand is a file of this folder with a function `command` (a typer command) and one line in
`COMMANDS`. It is imported when it is called, so that `clipvil --help` stays fast.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import typer

from clipvil_mmf.cli.user_dir import with_user_dir

# name -> (module of this folder, what it does)
COMMANDS: dict[str, tuple[str, str]] = {
    "check-submission": (
        "check_submission",
        "Say whether a leaderboard server would take a prediction file, and score it.",
    ),
    "doctor": ("doctor", "Say what is installed, what is wrong, and the command that repairs it."),
    "export": ("export_checkpoint", "Write a model in the layout of the published checkpoints."),
    "import": (
        "import_checkpoint",
        "Read a published checkpoint, CLIP or BERT into a folder of safetensors and configuration.",
    ),
    "merge": ("merge", "Make one model of a tuned run and its backbone."),
    "prepare": (
        "prepare",
        "Look for the files of VQA v2 or GQA, check them, convert them once for training.",
    ),
    "profile": (
        "profile",
        "Measure what tuning methods cost: parameters, multiply-adds, memory, time.",
    ),
    "score": ("score", "Score a prediction file as VQA v2 and GQA do, over all and by type."),
    "show": (
        "show",
        "Draw predictions: images with their questions, the answers given, right or wrong.",
    ),
}

# Commands that meet no component of one's own.
_WITHOUT_USER_DIR = ("doctor", "prepare")

app = typer.Typer(
    name="clipvil",
    add_completion=False,
    no_args_is_help=True,
    help="CLIP-ViL visual question answering for MMF. Training and prediction are MMF's own "
    "`mmf_run` and `mmf_predict`.",
)

# Everything after the name of a subcommand is passed on unread.
_PASS_ON = {
    "allow_extra_args": True,
    "allow_interspersed_args": False,
    "ignore_unknown_options": True,
}


@app.callback()
def main() -> None:
    """Keeps `clipvil` a group of commands, however many are registered."""


def subcommand(name: str) -> typer.Typer:
    """The command of a name of `COMMANDS`, imported now."""
    function = import_module(f"clipvil_mmf.cli.{COMMANDS[name][0]}").command
    parser = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    parser.command()(function if name in _WITHOUT_USER_DIR else with_user_dir(function))
    return parser


def _call(name: str) -> Callable[[typer.Context], None]:
    def command(context: typer.Context) -> None:
        parser = subcommand(name)
        # Imported here, so that `clipvil --help` stays fast.
        from omegaconf.errors import OmegaConfBaseException
        from yaml import YAMLError

        try:
            parser(context.args, prog_name=f"clipvil {name}")
        except (OSError, ValueError, ModuleNotFoundError, OmegaConfBaseException, YAMLError) as e:
            typer.echo(f"error: {e}", err=True)
            raise typer.Exit(1) from e

    return command


for _name, (_, _help) in COMMANDS.items():
    app.command(_name, help=_help, add_help_option=False, context_settings=_PASS_ON)(_call(_name))


if __name__ == "__main__":
    app()
