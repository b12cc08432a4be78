"""Models that the hub may have: a path as it is, a repository as its folder in the local cache."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from omegaconf import OmegaConf

from clipvil_mmf.checkpoints.native import (
    ANSWERS,
    CONFIG,
    TUNED,
    VOCABULARY,
    WEIGHTS,
    imported_folder,
    read_run_config,
)
from clipvil_mmf.sharing.repositories import (
    HubError,
    Repository,
    bare_repository,
    fetch,
    find_repository,
    no_safetensors,
)

# What a model of ours has there; weights are safetensors alone, as pickles may carry code.
MODEL_FILES = (CONFIG, WEIGHTS, TUNED, ANSWERS, VOCABULARY)
# Of other models: open_clip's, and transformers'.
_WEIGHTS = ("open_clip_model.safetensors", WEIGHTS)


def model_path(path: str | PathLike[str], revision: str | None = None) -> Path:
    """Where a model lies: a path as it is, of ``org/name`` or ``hf://org/name`` its cached folder.

    Raises:
        HubError: the hub does not give it, or it is not one of clipvil's.
        ValueError: a revision beside a path, or two.
    """
    repository = find_repository(path)
    bare = bare_repository(path) if repository is None else None
    repository = repository or bare
    if repository is None:
        if revision is not None:
            raise ValueError(f"revision: got {revision!r}, but {path} is not a hub repository.")
        return Path(path)
    if revision is not None:
        if repository.revision is not None:
            raise ValueError(f"revision: got {revision!r}, but {path} names one already.")
        repository = Repository(repository.name, revision)
    try:
        folder = fetch(repository, MODEL_FILES)
    except HubError as error:
        where = f"{path} is neither a folder here nor a model of the hub: " if bare else ""
        raise HubError(f"{where}{error}") from error
    files = {file for file in MODEL_FILES if (folder / file).is_file()}
    if CONFIG not in files or not files & {WEIGHTS, TUNED}:
        raise HubError(
            f"{repository} is not a model of clipvil: it has no {CONFIG} beside {WEIGHTS} or "
            f"{TUNED}. Expected one that `clipvil push` has put there."
        )
    return folder


def is_model(path: str) -> bool:
    """Whether a path names a model of clipvil, or what may be one on the hub; it is not read."""
    if not Path(path).exists():
        return (find_repository(path) or bare_repository(path)) is not None
    if imported_folder(path) is not None:
        return True
    file = next((f for f in (Path(path), *Path(path).parents[:2]) if (f / CONFIG).is_file()), None)
    if file is None:
        return False
    return OmegaConf.select(read_run_config(file / CONFIG), "model") == "clipvil"


def starting_path(path: str | PathLike[str]) -> str | PathLike[str]:
    """The file or folder of weights to start from: a path as it is, of ``hf://NAME`` its own.

    Raises:
        HubError: the hub does not give it, or it has no safetensors.
    """
    repository = find_repository(path)
    if repository is None:
        return path
    folder = fetch(repository, (CONFIG,))
    if (folder / CONFIG).is_file():
        return fetch(repository, MODEL_FILES)
    for name in _WEIGHTS:
        file = fetch(repository, (name,)) / name
        if file.is_file():
            return file
    raise HubError(no_safetensors(repository, _WEIGHTS))
