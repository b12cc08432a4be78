"""The `clipvil` command.

A subcommand is a file of this folder with a function `command` (a typer command) and one line in
`COMMANDS`. It is imported when it is called, so that `clipvil --help` stays fast.
"""

from __future__ import annotations

import inspect
import io
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from types import FrameType
from typing import Annotated, Any, get_type_hints

import typer

from clipvil_mmf import __version__
from clipvil_mmf.user_dir import import_user_dir

# name -> what it does
COMMANDS = {
    "answer": "Answer questions about images: of one, of a folder, of a file.",
    "browse": "Open a page in the browser: a data set, predictions, what is right and wrong.",
    "check-submission": "Say whether a leaderboard server would take a prediction file, and score "
    "it.",
    "config": "Print a configuration: every key, its value, where that comes from, what it means.",
    "demo": "Open a page in the browser: a photo, questions, answers, where the model looked.",
    "doctor": "Say what is installed, what is wrong, and the command that repairs it.",
    "export": "Write a model in the layout of the published checkpoints, or as ONNX.",
    "features": "Encode the images of a data set once, and keep their grid features in files.",
    "import": "Read a published checkpoint, CLIP or BERT into a folder of safetensors and "
    "configuration.",
    "merge": "Make one model of a tuned run and its backbone.",
    "prepare": "Look for the files of a dataset, check them, convert them once for training.",
    "profile": "Measure what tuning methods cost: parameters, multiply-adds, memory, time.",
    "push": "Put a model on the Hugging Face hub: weights, configuration, vocabularies, a card.",
    "runs": "Put runs side by side: changed keys, best score, parameters, memory, time.",
    "score": "Score a prediction file by the dataset's own rule, over all and by type.",
    "serve": "Answer over HTTP: requests that come together are computed together.",
    "show": "Draw predictions: images with their questions, the answers given, right or wrong.",
}
# Modules of this folder that have other names than their commands.
_MODULES = {
    "check-submission": "check_submission",
    "export": "export_checkpoint",
    "import": "import_checkpoint",
}

# Commands that meet no component of one's own.
_WITHOUT_USER_DIR = ("doctor", "prepare", "runs")

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
_USER_DIR = inspect.Parameter(
    "user_dir",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        str | None,
        typer.Option(help="Your own package of components, a folder or a module: env.user_dir."),
    ],
)


def subcommand(name: str) -> typer.Typer:
    """The command of a name of `COMMANDS`, imported now."""
    function = import_module(f"clipvil_mmf.cli.{_MODULES.get(name, name)}").command
    parser = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    parser.command()(function if name in _WITHOUT_USER_DIR else _with_user_dir(function))
    return parser


def _with_user_dir(command: Callable[..., None]) -> Callable[..., None]:
    """A typer command with the option `--user-dir` beside its own."""

    @wraps(command)
    def with_option(user_dir: str | None = None, **options: Any) -> None:
        if user_dir is not None:
            import_user_dir(user_dir)
        command(**options)

    # typer reads the signature, and so do those who resolve annotations.
    hints = get_type_hints(command, include_extras=True)
    own = inspect.signature(command).parameters.values()
    parameters = [*(option.replace(annotation=hints[option.name]) for option in own), _USER_DIR]
    with_option.__signature__ = inspect.Signature(parameters)
    with_option.__annotations__ = {option.name: option.annotation for option in parameters}
    return with_option


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does: what is half-written is removed."""

    def end(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    main = threading.current_thread() is threading.main_thread()
    signals = (signal.SIGTERM, signal.SIGHUP) if main else ()
    # Others may have been given by a caller, or be ignored, as nohup has it.
    own = [signum for signum in signals if signal.getsignal(signum) is signal.SIG_DFL]
    for signum in own:
        signal.signal(signum, end)
    try:
        yield
    finally:
        for signum in own:
            signal.signal(signum, signal.SIG_DFL)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"clipvil-mmf {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """The options of `clipvil` itself."""


def _call(name: str) -> Callable[[typer.Context], None]:
    def command(context: typer.Context) -> None:
        try:
            parser = subcommand(name)
        except Exception as e:  # MMF without the bridge fails in many ways
            typer.echo(
                f"error: clipvil {name} cannot be imported ({type(e).__name__}: {e}). "
                "`clipvil doctor` says what is missing",
                err=True,
            )
            raise typer.Exit(1) from e
        # Imported here, so that `clipvil --help` stays fast.
        from omegaconf.errors import OmegaConfBaseException
        from yaml import YAMLError

        # The name of a file may be no UTF-8, and what is printed may not suit the terminal.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            with _ended_by_signals():
                parser(context.args, prog_name=f"clipvil {name}")
        except (OSError, ValueError, ModuleNotFoundError, OmegaConfBaseException, YAMLError) as e:
            typer.echo(f"error: {e}", err=True)
            raise typer.Exit(1) from e

    return command


for _name, _help in COMMANDS.items():
    app.command(_name, help=_help, add_help_option=False, context_settings=_PASS_ON)(_call(_name))


if __name__ == "__main__":
    app()
