"""Widths and heights of images, read from the heads of their files; a store keeps them."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from clipvil_mmf.data.image_files import image_size
from clipvil_mmf.data.locking import StoreError, locked, writing

logger = logging.getLogger(__name__)

_SHARD = 4096  # images between two checkpoints
_THREADS = 16  # what waits is the disk
_CHECKSUM = 4  # bytes


def read_sizes(
    paths: Sequence[str],
    root: Path,
    store: Path | None,
    progress: bool = False,
    upright: bool = False,
) -> np.ndarray:
    """Read the sizes of images.

    A scan that was cut off goes on where it stopped: each full shard is kept at once, in a folder
    of the store that belongs to ``root``. Images that could not be read are tried again each time.
    Where nothing can be kept (a read-only folder, a full disk), a warning says what to do.

    Args:
        paths: I of them, relative to ``root``.
        root: the folder of the images.
        store: the folder that keeps the result; ``None`` keeps nothing.
        progress: show a bar.
        upright: of the pictures turned as their EXIF tags say.

    Returns:
        (I, 2) int32, (width, height); zeros for an image that is missing or damaged.
    """
    scan = functools.partial(_scan, upright=True) if upright else _scan
    starts = range(0, len(paths), _SHARD)
    if store is None:
        return _gather([scan(paths, root, start) for start in starts])
    name = f"{root.resolve()}{', upright' if upright else ''}"
    folder = store / f"sizes-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    files = {start: folder / f"{start:08d}" for start in starts}
    found = {start: _kept(file, min(_SHARD, len(paths) - start)) for start, file in files.items()}
    kept = {start: part for start, part in found.items() if part is not None}
    sizes = {start: _tried_again(part, paths, root, start, upright) for start, part in kept.items()}
    if len(sizes) == len(files) and all(sizes[start] is kept[start] for start in starts):
        return _gather([sizes[start] for start in starts])
    try:
        # Of several processes one reads, the others wait for what it keeps.
        with locked(store), tqdm(total=len(paths), desc="image sizes", disable=not progress) as bar:
            for start, file in files.items():
                before = _kept(file, min(_SHARD, len(paths) - start))
                if before is None:
                    sizes[start] = scan(paths, root, start)
                else:
                    sizes[start] = _tried_again(before, paths, root, start, upright)
                if sizes[start] is not before:
                    content = sizes[start].tobytes()
                    with writing(file) as partial:
                        partial.write_bytes(_checksum(content) + content)
                bar.update(len(sizes[start]))
    except StoreError as error:
        logger.warning("The sizes of the images are read at each start: %s", error)
        for start in starts:
            if start not in sizes:
                sizes[start] = scan(paths, root, start)
    return _gather([sizes[start] for start in starts])


def _kept(file: Path, count: int) -> np.ndarray | None:
    """A shard that was kept (a checksum, then the sizes); None if it is missing or damaged."""
    if not file.is_file():
        return None
    content = file.read_bytes()
    checksum, sizes = content[:_CHECKSUM], content[_CHECKSUM:]
    if checksum != _checksum(sizes) or len(sizes) != count * 8:
        logger.warning("%s is damaged; the sizes of its images are read anew", file)
        return None
    return np.frombuffer(sizes, dtype=np.int32).reshape(count, 2)


def _checksum(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(_CHECKSUM, "big")


def _scan(paths: Sequence[str], root: Path, start: int, upright: bool = False) -> np.ndarray:
    return _read(paths, root, range(start, min(start + _SHARD, len(paths))), upright)


def _tried_again(
    sizes: np.ndarray, paths: Sequence[str], root: Path, start: int, upright: bool
) -> np.ndarray:
    """A shard with the images that can be read by now; the shard itself if there are none."""
    bad = np.flatnonzero(~sizes.all(axis=1))
    found = _read(paths, root, (start + bad).tolist(), upright)
    if not found.any():
        return sizes
    sizes = sizes.copy()
    sizes[bad] = found
    return sizes


def _read(paths: Sequence[str], root: Path, images: Iterable[int], upright: bool) -> np.ndarray:
    files = [os.path.join(root, paths[image]) for image in images]
    with ThreadPoolExecutor(_THREADS) as pool:
        sizes = list(pool.map(functools.partial(image_size, upright=upright), files, chunksize=64))
    return np.asarray(sizes, dtype=np.int32).reshape(-1, 2)


def _gather(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros((0, 2), dtype=np.int32)
