"""Checkpoint files: written whole or not at all, read without running anybody's code."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, ListConfig, OmegaConf
from safetensors import SafetensorError
from safetensors.torch import load_file

from mmf_bridge.common.weight_formats import (
    SAFETENSORS,
    TORCH_ZIP,
    TORCHSCRIPT,
    check_zip,
    foreign_protocol,
    format_of,
)
from mmf_bridge.common.whole_files import take_name, whole_file

_DROP = object()
# What torch.load says of a class or function that its safe default does not allow.
_REFUSED = re.compile(r"GLOBAL (\S+)")


def atomic_save(obj: Any, path: str | os.PathLike[str]) -> None:
    """``torch.save`` to a file that gets its name last: a reader sees the old one or the new.

    Raises:
        OSError: the file could not be written (a full disk, say); nothing is left behind and a
            file that stood at ``path`` is unharmed.
    """
    try:
        with whole_file(path) as f:
            torch.save(obj, f)
    except (OSError, RuntimeError) as e:
        raise OSError(
            f"Could not write the checkpoint {path}: {e}. Free some disk space or choose another "
            "env.save_dir; the files that stood there before are unharmed"
        ) from e


def link_or_save(obj: Any, source: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Make ``path`` the file just saved at ``source``: a hard link where the disk has them."""
    try:
        take_name(source, path)
    except OSError:
        atomic_save(obj, path)


def prune(folder: str | os.PathLike[str], max_to_keep: int) -> None:
    """Delete all but the ``max_to_keep`` newest ``model_N.ckpt`` of a folder (-1 keeps all)."""
    if max_to_keep < 0:
        return
    # By age: an earlier run in the same folder may have come to higher numbers.
    files = sorted(Path(folder).glob("model_*.ckpt"), key=lambda f: f.stat().st_mtime_ns)
    for file in files[: len(files) - max_to_keep]:
        file.unlink()


def not_finite(state: Mapping[str, Any]) -> list[str]:
    """The names of the floating-point tensors that hold NaN or infinity; one look at the device."""
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    if not floating:
        return []
    device = next(iter(floating.values())).device
    finite = torch.stack([tensor.isfinite().all().to(device) for tensor in floating.values()])
    return [name for name, whole in zip(floating, finite.tolist(), strict=True) if not whole]


def safe_load(
    path: str | os.PathLike[str],
    map_location: Any = "cpu",
    trusted: str | Sequence[str] | None = None,
    mapped: bool = False,
) -> Any:
    """``torch.load`` that runs no code from the file, unless the user names the file as trusted.

    Args:
        path: the checkpoint; a ``.safetensors`` file or a folder with ``model.safetensors`` gives
            its tensors.
        map_location: where its tensors go, as ``torch.load`` takes it.
        trusted: ``checkpoint.trust_pickle``: a path or paths whose pickled code may run.
        mapped: tensors of a file of ``torch.save`` stay in the file until they are looked at:
            for those who copy some of them.

    Raises:
        ValueError: the file is not a checkpoint, or holds pickled code and is not trusted.
    """
    path = Path(path)
    if path.is_dir():
        return _load_safetensors(path, map_location)
    names = [trusted] if isinstance(trusted, str) else list(trusted or [])
    trusts = any(Path(name).resolve() == path.resolve() for name in names)
    try:
        return _load(path, map_location, trusts, mapped)
    except (FileNotFoundError, _UnreadableError):
        raise
    # Damaged files raise whatever their half-read bytes lead to.
    except Exception as e:
        refused = _REFUSED.search(str(e))
        if refused is not None and not trusts:
            raise ValueError(
                f"{path} is not a plain checkpoint: reading it would run code that it carries "
                f"({refused.group(1)}). If you trust where it comes from, say so by name: "
                f"checkpoint.trust_pickle={path}"
            ) from e
        raise ValueError(
            f"{path} could not be read as a checkpoint ({_first_line(e)}): it is none, is damaged "
            "or cut short; fetch or save it again"
        ) from e


class _UnreadableError(ValueError):
    """A file that is understood, but not read; the message names it and what to do."""


def _load(path: Path, map_location: Any, trusts: bool, mapped: bool) -> Any:
    found = format_of(path)
    if found == SAFETENSORS:
        return _load_safetensors(path, map_location)
    if found == TORCH_ZIP:
        check_zip(path)
    if not trusts:
        if found == TORCHSCRIPT:
            raise _UnreadableError(
                f"{path} is a TorchScript archive, and reading it would run its code. Save its "
                "state dict with torch.save; or, if you trust where it comes from, say so by name: "
                f"checkpoint.trust_pickle={path}"
            )
        protocol = foreign_protocol(path)
        if protocol is not None:
            raise _UnreadableError(
                f"{path} was saved with pickle_protocol={protocol}, which torch's safe reader does "
                "not know: save it again without that option of torch.save"
            )
    if mapped and found == TORCH_ZIP:
        return torch.load(path, map_location=map_location, weights_only=not trusts, mmap=True)
    with open(path, "rb") as file:  # of a name, torch would look at the ending
        return torch.load(file, map_location=map_location, weights_only=not trusts)


def _load_safetensors(path: Path, device: Any) -> dict[str, torch.Tensor]:
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"{path} holds no model.safetensors: it is no folder of a checkpoint")
    try:
        return load_file(file, device=str(device))
    except SafetensorError as e:
        raise _UnreadableError(
            f"{file} could not be read as safetensors ({e}): it is damaged or cut short; fetch or "
            "save it again"
        ) from e


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    if not text or text.startswith("Weights only load failed"):  # pages of advice
        return type(error).__name__
    return text.splitlines()[0]


def plain(value: Any) -> Any:
    """A copy of ``value`` that ``torch.load``'s safe default reads.

    Numpy scalars become numbers, OmegaConf nodes containers; functions and other objects (a
    scheduler's lambdas) are left out.
    """
    kept = _plain(value)
    return None if kept is _DROP else kept


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (torch.Tensor, bool, int, float, str, bytes)):
        return value
    if isinstance(value, (DictConfig, ListConfig)):
        return OmegaConf.to_container(value, resolve=True)
    if isinstance(value, Mapping):
        items = {key: _plain(item) for key, item in value.items()}
        return {key: item for key, item in items.items() if item is not _DROP}
    if isinstance(value, (list, tuple)):
        items = [_plain(item) for item in value]
        kind = list if isinstance(value, list) else tuple
        return _DROP if any(item is _DROP for item in items) else kind(items)
    return _DROP


def numbers(state: Mapping[str, Any]) -> dict[str, Any]:
    """A scheduler's or scaler's state without functions and settings, which the yaml gives."""
    return {
        key: value
        for key, value in state.items()
        if key != "lr_lambdas"
        and not isinstance(value, (DictConfig, ListConfig))
        and _plain(value) is not _DROP
    }


def continued(live: Mapping[str, Any], saved: Mapping[str, Any]) -> dict[str, Any]:
    """The state ``live`` of a scheduler or scaler, with the numbers that a checkpoint has of it."""
    return {**live, **{key: saved[key] for key in numbers(live) if key in saved}}


def pack_numpy_state(state: tuple[Any, ...]) -> tuple[Any, ...]:
    """Numpy's generator state for a checkpoint: its array as a tensor."""
    name, keys, *rest = state
    # int64: torch cannot send uint32 tensors to other processes.
    return (name, torch.from_numpy(keys.astype(np.int64)), *rest)


def unpack_numpy_state(state: tuple[Any, ...]) -> tuple[Any, ...]:
    """What numpy takes back of :func:`pack_numpy_state`."""
    name, keys, *rest = state
    return (name, keys.cpu().numpy().astype(np.uint32), *rest)


def rng_state() -> dict[str, Any]:
    """The state of every random number generator of this process."""
    return {
        "torch": torch.get_rng_state(),
        # Of this process's own GPU: asking all of them would open a context on each.
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
        "numpy": pack_numpy_state(np.random.get_state()),
        "python": random.getstate(),
    }


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Put back what :func:`rng_state` gave."""
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"][0].cpu())
    np.random.set_state(unpack_numpy_state(state["numpy"]))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))


def listed(names: Sequence[str], most: int) -> str:
    """The first names for a message, and how many more there are: ``a, b and 3 more``."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def report_keys(path: str, missing: Iterable[str], unexpected: Iterable[str]) -> None:
    """Raise a ``ValueError`` if keys of a checkpoint are missing or left over."""
    missing, unexpected = list(missing), list(unexpected)
    if not missing and not unexpected:
        return

    parts = []
    if missing:
        parts.append(f"it lacks {len(missing)} keys of the model ({listed(missing, 5)})")
    if unexpected:
        left = listed(unexpected, 5)
        parts.append(f"the model has no place for {len(unexpected)} of its ({left})")
    raise ValueError(
        f"{path} is a checkpoint of another model: {'; '.join(parts)}. Use the configuration it "
        "was trained with (config.yaml beside it), or load parts of it with "
        "checkpoint.resume_pretrained=true and checkpoint.pretrained_state_mapping"
    )
