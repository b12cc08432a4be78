"""Widths and heights of images, read from the heads of their files; a store keeps them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from clipvil_mmf.data.locking import locked, writing

_SHARD = 4096  # images between two checkpoints
_THREADS = 16  # what waits is the disk


def read_sizes(
    paths: Sequence[str], root: Path, store: Path | None, progress: bool = False
) -> np.ndarray:
    """Read the sizes of images.

    A scan that was cut off goes on where it stopped: each full shard is kept at once, in a folder
    of the store that belongs to ``root``. Shards with unreadable images are read anew each time.

    Args:
        paths: I of them, relative to ``root``.
        root: the folder of the images.
        store: the folder that keeps the result; ``None`` keeps nothing.
        progress: show a bar.

    Returns:
        (I, 2) int32, (width, height); zeros for an image that is missing or damaged.

    Raises:
        StoreError: ``store`` cannot be written to.
    """
    starts = range(0, len(paths), _SHARD)
    if store is None:
        return _gather([_scan(paths, root, start) for start in starts])
    folder = store / f"sizes-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]}"
    files = [folder / f"{start:08d}.npy" for start in starts]
    if all(file.is_file() for file in files):
        return _gather([np.load(file) for file in files])
    # Of several processes one reads, the others wait for what it keeps.
    with locked(store), tqdm(total=len(paths), desc="image sizes", disable=not progress) as bar:
        sizes = []
        for start, file in zip(starts, files, strict=True):
            if not file.is_file():
                part = _scan(paths, root, start)
                if part.all():
                    with writing(file) as partial, partial.open("wb") as out:
                        np.save(out, part)
            else:
                part = np.load(file)
            sizes.append(part)
            bar.update(len(part))
    return _gather(sizes)


def _scan(paths: Sequence[str], root: Path, start: int) -> np.ndarray:
    files = [os.path.join(root, paths[i]) for i in range(start, min(start + _SHARD, len(paths)))]
    with ThreadPoolExecutor(_THREADS) as pool:
        return np.asarray(list(pool.map(_size, files, chunksize=64)), dtype=np.int32)


def _size(path: str) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    # What PIL raises for damaged heads; whether such an image matters is decided where it is read.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 0, 0


def _gather(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros((0, 2), dtype=np.int32)
