"""Files of weights: read without running their code, written whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from clipvil_mmf.atomic import replacing, replacing_folder
from clipvil_mmf.torchscript import TorchScriptError, read_torchscript
from mmf_bridge.common import weight_formats as formats

# What torch.load says of a class or function that its safe default does not allow.
_REFUSED = re.compile(r"GLOBAL (\S+)")

# How files begin that are often taken for checkpoints -> what they are and what to do.
_NO_CHECKPOINTS: dict[bytes, str] = {
    b"<": "a web page: the download went wrong. Fetch the file again",
    b"version https://git-lfs": "a pointer of Git LFS: fetch the file itself with `git lfs pull`",
    b"\x1f\x8b": "compressed: unpack it with `gunzip` first",
    b"BZh": "compressed: unpack it with `bunzip2` first",
    b"\xfd7zXZ": "compressed: unpack it with `unxz` first",
}


class WeightFileError(ValueError):
    """A file of weights cannot be read or written; the message names it and what to do."""


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read the state dict of a safetensors file, a torch checkpoint or a TorchScript archive.

    A checkpoint of open_clip's training, which has the weights under ``state_dict``, gives these.

    Returns:
        Names -> CPU tensors of the dtypes in the file.

    Raises:
        WeightFileError: no such file; it is damaged, cut short or no file of weights; it carries
            code; it holds something other than named tensors.
    """
    return named_tensors(read_file(path), path)


def named_tensors(loaded: Any, path: str | Path) -> dict[str, Tensor]:
    """The state dict in what :func:`read_file` gave; a WeightFileError if it is something else."""
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    holds = f"{path} holds no state dict (names -> tensors), but"
    if not isinstance(loaded, Mapping):
        raise WeightFileError(f"{holds} a {type(loaded).__name__}.")
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise WeightFileError(f"{holds} {key!r} that is not a tensor.")
        if value.is_meta or value.is_quantized or value.layout != torch.strided:
            raise WeightFileError(f"{holds} {key!r} that is not a plain tensor.")
    return dict(loaded)


def read_file(path: str | Path) -> Any:
    """What a safetensors file, a torch checkpoint or a TorchScript archive holds, on the CPU.

    The content says which it is, not the file's ending. Torch checkpoints are read by
    ``torch.load(weights_only=True)``, mapped where they are not in the format before torch 1.6;
    TorchScript archives by ``torchscript.py``. Where a file has checksums, they are checked.

    Raises:
        WeightFileError: as :func:`read_weights`, of the file itself.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightFileError(f"{path}: no such file.")
    try:
        return _read_or_explain(path)
    except WeightFileError as error:
        kept = path.resolve()
        if kept.parent.name != "blobs":
            raise
        raise WeightFileError(
            f"{error} This one is in the hub's cache: remove {kept}, and it is fetched once more."
        ) from error


def _read_or_explain(path: Path) -> Any:
    try:
        _refuse_other_files(path)
        return _read(path)
    except WeightFileError:
        raise
    except TorchScriptError as error:
        raise WeightFileError(
            f"{path} is a TorchScript archive that was not read: {error}, and its code is not run. "
            "Fetch it again; or, if you trust this file, load it in Python yourself with "
            "torch.jit.load and save its state dict with torch.save."
        ) from error
    # Damaged files raise whatever their half-read bytes lead to.
    except Exception as error:
        raise WeightFileError(_why_unreadable(path, error)) from error


def _read(path: Path) -> Any:
    found = formats.format_of(path)
    if found == formats.SAFETENSORS:
        return load_file(path)
    if found == formats.TORCHSCRIPT:
        return read_torchscript(path)
    mapped = found == formats.TORCH_ZIP and formats.check_zip(path)
    protocol = formats.foreign_protocol(path)
    if protocol is not None:
        raise WeightFileError(
            f"{path} was saved with pickle_protocol={protocol}, which torch's safe reader does not "
            "know. Save it again without that option of torch.save."
        )
    if path.suffix != ".safetensors":
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    with open(path, "rb") as file:  # by its name torch would take it for safetensors
        return torch.load(file, map_location="cpu", weights_only=True)


def write_safetensors(
    tensors: Mapping[str, Tensor], path: str | Path, metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file; a reader sees the old file or all of the new one.

    Raises:
        WeightFileError: it could not be written; nothing is left behind.
    """
    # safetensors takes neither views with gaps nor two tensors of one storage.
    own: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        own[name] = tensor.clone() if storage in storages else tensor
        storages.add(storage)
    with _atomic(path) as partial:
        save_file(own, partial, metadata)


def write_torch(tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """The same with ``torch.save``."""
    with _atomic(path) as partial, partial.open("wb") as file:
        torch.save(dict(tensors), file)


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Give a folder to fill, which gets its name once it is filled.

    Raises:
        WeightFileError: something stands there already, or writing failed; nothing is left.
    """
    path = Path(path)
    if path.exists():
        raise WeightFileError(f"{path} exists: remove it, or name another folder.")
    with _explained(path, OSError), replacing_folder(path) as partial:
        yield partial


@contextmanager
def _atomic(path: str | Path) -> Iterator[Path]:
    failures = (OSError, RuntimeError, SafetensorError)
    with _explained(path, *failures), replacing(path) as partial:
        partial.touch()
        mode = partial.stat().st_mode  # what the umask allows; safetensors has 0600
        yield partial
        partial.chmod(mode)


@contextmanager
def _explained(path: str | Path, *failures: type[Exception]) -> Iterator[None]:
    """Say of a failure which file could not be written."""
    try:
        yield
    except failures as error:
        raise WeightFileError(
            f"{path} could not be written: {_first_line(error)}. Free some disk space or choose "
            "another place; nothing was left there."
        ) from error


def _refuse_other_files(path: Path) -> None:
    with open(path, "rb") as file:
        start = file.read(64)
    if not start:
        raise WeightFileError(f"{path} is empty. Fetch it again.")
    what = next((what for begin, what in _NO_CHECKPOINTS.items() if start.startswith(begin)), None)
    # A safetensors file begins with a length, which may be any byte.
    if what is not None and formats.format_of(path) != formats.SAFETENSORS:
        raise WeightFileError(f"{path} is not a checkpoint but {what}.")


def _why_unreadable(path: Path, error: Exception) -> str:
    refused = _REFUSED.search(str(error))
    if refused is not None:
        return (
            f"{path} was not read: it carries code ({refused.group(1)}), which reading it would "
            "run. Checkpoints hold tensors alone: fetch it from its authors, or, if you trust this "
            "file, load it in Python yourself and save its state dict with torch.save."
        )
    return (
        f"{path} could not be read as safetensors, as a torch checkpoint of tensors alone, or as a "
        f"TorchScript archive ({_first_line(error)}): it is none, is damaged or cut short. Fetch "
        "it again."
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    if not text or text.startswith("Weights only load failed"):  # pages of advice
        return type(error).__name__
    return text.splitlines()[0]
