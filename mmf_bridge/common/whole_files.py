"""Files and folders that appear whole or not at all, and what killed processes leave of them."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO

_PREFIX = ".partial-"


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Give an open file, which takes the place of ``path`` if all goes well.

    Until then it has no name, where the file system knows such files (``O_TMPFILE``): nothing is
    left of it however this process ends. Elsewhere it is that of :func:`replacing`.

    Raises:
        OSError: it cannot be written; nothing half-written is left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent)
    try:
        descriptor = os.open(path.parent, os.O_TMPFILE | os.O_RDWR, 0o666)
    except (AttributeError, OSError):  # not Linux, or the file system cannot
        with replacing(path) as partial, partial.open("w+b") as file:
            yield file
        return
    with open(descriptor, "w+b") as file:
        yield file
        file.flush()
        os.fsync(descriptor)
        try:
            # Only with a descriptor of the source's folder does Python follow the link to the file.
            take_name(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor)
        except OSError:  # no hard links, or no /proc
            file.seek(0)
            with replacing(path) as partial, partial.open("wb") as copy:
                shutil.copyfileobj(file, copy)


def take_name(source: str | os.PathLike[str], path: str | os.PathLike[str], **options: Any) -> None:
    """Let ``path`` be a hard link to a file, whatever stood there; ``OSError``: it cannot.

    ``options`` are those of ``os.link``.
    """
    partial = _partial(Path(path))
    try:
        os.link(source, partial, **options)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    _to_disk(partial.parent)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give the name of a file that takes the place of ``path`` if all goes well.

    Missing folders are made, and what killed processes have left in the folder is removed. The
    name ends as ``path`` does: it may tell a writer the format.

    Raises:
        OSError: it cannot be written; nothing half-written is left.
    """
    with partial_file(path) as partial:
        yield partial
        _to_disk(partial)
        os.replace(partial, path)
        _to_disk(Path(path).parent)


@contextmanager
def partial_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give the name of a file for what is not finished; nothing of it is left.

    It lies in a folder of its own beside ``path``: writers may have files beside theirs, too.
    """
    path = Path(path)
    folder = _partial(path)
    try:
        folder.mkdir()
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def replacing_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty folder beside ``path``, which takes its place if all goes well."""
    path = Path(path)
    partial = _partial(path)
    old = partial.with_name(f"{partial.name}.old")
    try:
        partial.mkdir()
        yield partial
        for written in (*partial.rglob("*"), partial):
            _to_disk(written)
        if path.exists():  # who has its files mapped keeps them
            os.replace(path, old)
        os.replace(partial, path)
        _to_disk(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def remove_abandoned(folder: str | os.PathLike[str], also: tuple[str, ...] = ()) -> None:
    """Remove what killed processes of this host have left half-written in a folder.

    ``also``: endings of names that no living process writes there, whoever left them.
    """
    for partial in Path(folder).glob(f"{_PREFIX}*"):
        if not partial.name.endswith(also) and not _is_abandoned(partial.name):
            continue
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            with suppress(PermissionError):  # of another user, who shall see to it
                partial.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    """Let a file, or the names in a folder, outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Some network file systems cannot do this for a folder; what is in its files is safe.
        with suppress(OSError) if path.is_dir() else nullcontext():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _partial(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent)
    pid = os.getpid()
    return path.with_name(f"{_PREFIX}{place()}-{pid}-{start_of(pid)}-{path.name}")


def _is_abandoned(name: str) -> bool:
    """Whether a partial file's name says that a process of this host wrote it, which has ended."""
    found = re.match(rf"{re.escape(_PREFIX + place())}-(\d+)-(\d+)-", name)
    return found is not None and start_of(int(found[1])) != int(found[2])


def place() -> str:
    """This host, as far as process ids mean the same: containers may share its name."""
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:  # not Linux
        namespace = 0
    return f"{socket.gethostname()}-{namespace}"


def start_of(pid: int) -> int:
    """When a process started, in clock ticks since the host did; -1 if there is none.

    Another process may get the same id, but not at the same time.
    """
    if not os.path.exists("/proc/self/stat"):
        return 0  # not Linux: nobody can tell, so nothing counts as abandoned
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return -1
    return int(stat.rpartition(b")")[2].split()[19])
