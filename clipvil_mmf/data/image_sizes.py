"""Widths and heights of images, read from the heads of their files; a store keeps them."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from clipvil_mmf.data.locking import StoreError, locked, writing

logger = logging.getLogger(__name__)

_SHARD = 4096  # images between two checkpoints
_THREADS = 16  # what waits is the disk


def read_sizes(
    paths: Sequence[str], root: Path, store: Path | None, progress: bool = False
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

    Returns:
        (I, 2) int32, (width, height); zeros for an image that is missing or damaged.
    """
    starts = range(0, len(paths), _SHARD)
    if store is None:
        return _gather([_scan(paths, root, start) for start in starts])
    folder = store / f"sizes-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]}"
    files = {start: folder / f"{start:08d}.npy" for start in starts}
    kept = {start: np.load(file) for start, file in files.items() if file.is_file()}
    sizes = {start: _tried_again(part, paths, root, start) for start, part in kept.items()}
    if len(sizes) == len(files) and all(sizes[start] is kept[start] for start in starts):
        return _gather([sizes[start] for start in starts])
    try:
        # Of several processes one reads, the others wait for what it keeps.
        with locked(store), tqdm(total=len(paths), desc="image sizes", disable=not progress) as bar:
            for start, file in files.items():
                before = np.load(file) if file.is_file() else None
                if before is None:
                    sizes[start] = _scan(paths, root, start)
                else:
                    sizes[start] = _tried_again(before, paths, root, start)
                if sizes[start] is not before:
                    with writing(file) as partial, partial.open("wb") as out:
                        np.save(out, sizes[start])
                bar.update(len(sizes[start]))
    except StoreError as error:
        logger.warning("The sizes of the images are read at each start: %s", error)
        for start in starts:
            if start not in sizes:
                sizes[start] = _scan(paths, root, start)
    return _gather([sizes[start] for start in starts])


def _scan(paths: Sequence[str], root: Path, start: int) -> np.ndarray:
    return _read(paths, root, range(start, min(start + _SHARD, len(paths))))


def _tried_again(sizes: np.ndarray, paths: Sequence[str], root: Path, start: int) -> np.ndarray:
    """A shard with the images that can be read by now; the shard itself if there are none."""
    bad = np.flatnonzero(~sizes.all(axis=1))
    found = _read(paths, root, (start + bad).tolist())
    if not found.any():
        return sizes
    sizes = sizes.copy()
    sizes[bad] = found
    return sizes


def _read(paths: Sequence[str], root: Path, images: Iterable[int]) -> np.ndarray:
    files = [os.path.join(root, paths[image]) for image in images]
    with ThreadPoolExecutor(_THREADS) as pool:
        sizes = list(pool.map(_size, files, chunksize=64))
    return np.asarray(sizes, dtype=np.int32).reshape(-1, 2)


def _size(path: str) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    # What PIL raises for damaged heads; whether such an image matters is decided where it is read.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 0, 0


def _gather(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros((0, 2), dtype=np.int32)
