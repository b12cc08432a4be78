"""The folder of a run, ``env.save_dir``: for one training at a time, and never a finished run's."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from mmf_bridge.common.checkpoint_files import listed
from mmf_bridge.common.locking import holder_of, holding
from mmf_bridge.common.resuming import goes_on, trains
from mmf_bridge.common.whole_files import place, remove_abandoned, start_of

LOCK = "training.lock"  # where folders cannot be locked
MODELS = "models"  # MMF makes it in each run's folder; the lock is on it
_ENDINGS = ("current.ckpt", "best.ckpt", "_final.pth")
# What file systems answer that have no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_WAIT = "Wait for its end, or choose another env.save_dir"


@contextmanager
def reserved(config: Any, predict: bool) -> Iterator[None]:
    """Hold ``env.save_dir`` for a training, if the run is one; rank 0 does it for all its ranks.

    Raises:
        FileExistsError: the folder holds a run, with which this one does not go on.
        RuntimeError: a run trains in the folder now.
        ValueError: the folder, or that of the log or the reports, cannot be made or written into.
    """
    for key in ("save_dir", "log_dir", "report_dir"):
        _check_folder(config.env.get(key), f"env.{key}")
    folder, is_training = Path(config.env.save_dir), trains(config, predict)
    if not is_training or config.distributed.rank:
        if is_training:
            check(config)
        yield
        return
    with _locked(folder):
        check(config)
        # Nobody else writes checkpoints here, on no host.
        for place in (folder, folder / MODELS):
            remove_abandoned(place, also=(".ckpt", "_final.pth"))
        yield


def _check_folder(folder: str | None, key: str) -> None:
    if not folder:
        return
    path = Path(folder)
    there = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not there.is_dir():
        raise ValueError(f"{key}: got {folder}, but {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{key}: got {folder}, but {there} cannot be written into")


def check(config: Any) -> None:
    """Refuse to train over a run.

    Raises:
        FileExistsError: ``env.save_dir`` holds one, with which this run does not go on, and
            ``env.overwrite`` is not set.
    """
    folder = config.env.save_dir
    found = files_of_runs(folder)
    if not found or config.env.overwrite:
        return
    prefixes = {name.removesuffix(end) for name in found for end in _ENDINGS if name.endswith(end)}
    if any(goes_on(config, folder, prefix) for prefix in prefixes | {""}):
        return
    raise FileExistsError(
        f"{folder} holds a run ({listed(found, 4)}), which training would overwrite. To go on with "
        "that run: checkpoint.resume=true; to keep it: another env.save_dir; to replace it: "
        "env.overwrite=true"
    )


def files_of_runs(folder: str | os.PathLike[str]) -> list[str]:
    """The checkpoints in a folder, of any model: their names, those to go on from first."""
    there = sorted(path.name for path in Path(folder).glob("[!.]*"))
    named = [name for end in _ENDINGS for name in there if name == end or name.endswith(f"_{end}")]
    named += [name for name in there if name.endswith("_final.pth")]
    numbered = sorted(Path(folder, "models").glob("model_*.ckpt"))
    return [*dict.fromkeys(named), *(f"models/{path.name}" for path in numbered)]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; the kernel frees it however its holder ends."""
    try:
        (folder / MODELS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"env.save_dir: {folder} cannot be made: {error.strerror}") from error
    with ExitStack() as stack:
        try:
            is_locked = stack.enter_context(holding(folder / MODELS, waits=False))
        except BlockingIOError:
            told = {"pid": holder_of(folder / MODELS), "host": socket.gethostname()}
            raise RuntimeError(_taken(folder, told, _WAIT)) from None
        if not is_locked:
            stack.enter_context(_locked_file(folder / LOCK))
        yield


@contextmanager
def _locked_file(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which goes at the end, but stays where its holder is killed.

    Its text tells of the holder, and counts where a kernel does not know of the locks of other
    hosts.
    """
    with _open_locked(path) as file:
        file.seek(0)
        file.truncate()
        file.write(_holder())
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _open_locked(path: Path) -> Any:
    while True:
        file = path.open("a+", encoding="utf-8")
        file.seek(0)
        try:
            # lockf, not flock: workers that outlive their trainer for a moment don't inherit it.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            text, is_free = file.read(), True
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN, *_NO_LOCKS):
                raise
            text = file.read()
            is_free = error.errno in _NO_LOCKS and not _lives_here(text)
        if not is_free or (text and not _is_of_this_host(text)):
            file.close()
            raise RuntimeError(_refusal(path, text, is_free))
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()  # its holder has just removed it: look again


def _holder() -> str:
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    pid, host = os.getpid(), socket.gethostname()
    return (
        f"host: {host}\nboot: {_boot()}\nplace: {place()}\npid: {pid}\nstart: {start_of(pid)}\n"
        f"since: {since}\n"
    )


def _is_of_this_host(text: str) -> bool:
    """Whether the kernel that this process asks for the lock is its holder's.

    Containers have host names of their own; a host that has started again has another boot id.
    """
    told = _fields(text)
    return told.get("host") == socket.gethostname() or told.get("boot") == _boot()


def _lives_here(text: str) -> bool:
    """Whether the holder is a process that lives here, where there are no locks to ask."""
    told = _fields(text)
    same = told.get("place") == place() and told.get("boot") == _boot()
    return same and start_of(int(told["pid"])) == int(told["start"])


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # not Linux
        return socket.gethostname()


def _fields(text: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


def _refusal(path: Path, text: str, is_free: bool) -> str:
    advice = _WAIT
    if is_free:
        advice = (
            f"Whether it still does cannot be seen from {socket.gethostname()}: if it has ended, "
            f"remove {path}; else choose another env.save_dir"
        )
    return _taken(path.parent, _fields(text), advice)


def _taken(folder: Path, told: dict[str, Any], advice: str) -> str:
    who = f"process {told.get('pid') or 'unknown'} on {told.get('host', 'an unknown host')}"
    since = f", since {told['since']}" if "since" in told else ""
    return f"{folder} is taken: a run trains there ({who}{since}). {advice}"
