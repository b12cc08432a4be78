"""Repositories of the hub by name, and their files in its local cache."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from mmf_bridge.common.checksums import sha256_of

_SCHEMES = ("hf://", "hf-hub:")  # ours, and open_clip's
_BARE = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", re.ASCII)
_PAGE = re.compile(r"https?://[^/]+/([\w.-]+/[\w.-]+)?", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")  # the name of a large file in the cache


class HubError(ValueError):
    """The hub does not give, or take, what was asked for; the message says why, in a line."""


@dataclass(frozen=True)
class Repository:
    """A repository of models: ``hf://org/name``, or ``hf://org/name@revision``."""

    name: str
    revision: str | None = None  # branch, tag or commit; None for main

    def __str__(self) -> str:
        return f"hf://{self.name}{f'@{self.revision}' if self.revision else ''}"


def find_repository(text: str | PathLike[str]) -> Repository | None:
    """The repository that ``hf://NAME`` or ``hf-hub:NAME`` names; None of any other text.

    Raises:
        HubError: the text is the address of a page.
    """
    text = fspath(text)
    page = _PAGE.match(text)
    if page is not None:
        raise HubError(
            f"{text} is the address of a page; expected the name of a repository, such as "
            f"hf://{page[1] or 'org/name'}, or a file or folder here"
        )
    for scheme in _SCHEMES:
        if text.startswith(scheme):
            name, _, revision = text.removeprefix(scheme).partition("@")
            return Repository(name, revision or None)
    return None


def bare_repository(text: str | PathLike[str]) -> Repository | None:
    """The repository that ``org/name`` names, where no file or folder here has that path."""
    if not _BARE.fullmatch(fspath(text)) or Path(text).exists():
        return None
    return find_repository(f"{_SCHEMES[0]}{fspath(text)}")


def no_safetensors(repository: Repository, expected: Sequence[str]) -> str:
    """The message for a repository without the weights that can be read safely."""
    return (
        f"{repository} has none of {', '.join(expected)}, and weights in other formats may carry "
        "code. Some repositories have a conversion in another revision (see its pull requests): "
        f"hf://{repository.name}@refs/pr/NUMBER"
    )


def fetch(repository: Repository, files: Sequence[str]) -> Path:
    """The cached folder of a repository's revision, with those of these files that it has.

    They are downloaded once. Without a network, or with ``HF_HUB_OFFLINE=1``, the cache serves
    alone.

    Raises:
        HubError: it could not be fetched.
    """
    # Imported here: it starts slowly, and most models are files.
    from huggingface_hub import snapshot_download

    # Every repository has the last one: where none is found, huggingface_hub warns.
    wanted = [*files, ".gitattributes"]
    with explained(repository):
        before = _large_files(repository)
        folder = snapshot_download(
            repository.name, revision=repository.revision, allow_patterns=wanted
        )
        # huggingface_hub compares sizes alone.
        for file in _large_files(repository) - before:
            if sha256_of(file) != file.name:
                file.unlink()
                raise HubError(
                    f"{repository}: a file of {file.name} arrived damaged, and was removed. Fetch "
                    "it once more"
                )
    return Path(folder)


def _large_files(repository: Repository) -> set[Path]:
    """The files in the cache that have their content's SHA-256 as their name."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE, f"models--{repository.name.replace('/', '--')}", "blobs")
    return {file for file in folder.glob("*") if _SHA256.fullmatch(file.name)}


@contextmanager
def _quiet_without_terminal() -> Iterator[None]:
    """Leave out huggingface_hub's progress bars where they would fill a file."""
    from huggingface_hub import utils

    if sys.stderr.isatty() or utils.are_progress_bars_disabled():
        yield
        return
    utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.enable_progress_bars()


@contextmanager
def explained(repository: Repository) -> Iterator[None]:
    """Say in one line what the hub, or the way there, has refused; without a terminal, no bars.

    Raises:
        HubError: in the place of what ``huggingface_hub`` raises.
    """
    from huggingface_hub import constants, errors, get_token

    name, hub = repository.name, constants.ENDPOINT
    login = "Log in (`hf auth login`), or set HF_TOKEN"
    stranger = "you are not logged in" if get_token() is None else "your token does not open it"
    try:
        with _quiet_without_terminal():
            yield
    except HubError:
        raise
    except errors.HFValidationError as error:
        raise HubError(f"{name!r} is not a repository's name: expected org/name") from error
    except errors.GatedRepoError as error:
        raise HubError(
            f"{name} is gated ({stranger}). Ask for access at {hub}/{name}. {login}"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"{hub} has no repository {name}, or it is private and {stranger}. Check the name. "
            f"{login}"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{name} has no revision {repository.revision or 'main'}") from error
    # An answer that is not the hub's, such as the page of a proxy, leads to any error.
    except Exception as error:
        answer = _answer(error)
        status = None if answer is None else answer.response.status_code
        if status in (401, 403):
            raise HubError(f"{hub} refuses this ({stranger}): {_line(answer)}. {login}") from error
        if answer is None and isinstance(error, errors.LocalEntryNotFoundError):
            offline = constants.is_offline_mode()
            why = "HF_HUB_OFFLINE is set" if offline else f"{hub} cannot be reached"
            cache = constants.HF_HUB_CACHE
            raise HubError(
                f"{repository} is not (or not whole) in the cache {cache}, and {why}"
            ) from error
        if answer is None and isinstance(error, OSError) and error.errno is not None:
            raise HubError(
                f"{repository}: its cache {constants.HF_HUB_CACHE} cannot be read or written: "
                f"{_line(error)}. Free some disk space, or set HF_HOME to another folder"
            ) from error
        said = _line(answer or error)
        if answer is None and isinstance(error, (LookupError, TypeError, ValueError)):
            said = f"what it sends is not a hub's ({type(error).__name__}: {said})"
        code = "" if status is None else f" with {status}"
        later = ". Try again later" if status is None or status >= 429 else ""
        raise HubError(f"{name}: {hub} failed{code}: {said}{later}") from error


def _answer(error: BaseException | None) -> Any:
    """The error that has the hub's answer, among an error and those that led to it, or None."""
    while error is not None and getattr(error, "response", None) is None:
        error = error.__cause__
    return error


def _line(error: Exception) -> str:
    """What a server has said, or the first line of an error."""
    text = (getattr(error, "server_message", None) or str(error)).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
