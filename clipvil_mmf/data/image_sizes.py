"""Widths and heights of images, read from the heads of their files; a store keeps them."""

from __future__ import annotations

import hashlib
import logging
import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from clipvil_mmf.data.image_files import image_size
from clipvil_mmf.data.locking import StoreError, locked, writing
from mmf_bridge.common.progress import Progress

logger = logging.getLogger(__name__)

_SHARD = 4096  # images between two checkpoints
_THREADS = 16  # what waits is the disk
_CHECKSUM = 4  # bytes


def read_sizes(
    paths: Sequence[str], root: Path, store: Path | None, progress: bool, upright: bool
) -> np.ndarray:
    """See ``QuestionTable.image_sizes``, for a part of a table.

    A scan that was cut off goes on where it stopped: each full shard is kept at once, in a folder
    of the store that belongs to ``root``. Images that could not be read are tried again each time.
    Where nothing can be kept (a read-only folder, a full disk), a warning says what to do; where
    ``store`` is None nothing is to be kept.
    """
    name = f"{root.resolve()}{', upright' if upright else ''}"
    folder = f"sizes-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    writes = store is not None
    sizes = [np.zeros((0, 2), dtype=np.int32)]
    with Progress("reading the sizes of images", len(paths), shown=progress) as bar:
        for start in range(0, len(paths), _SHARD):
            part = paths[start : start + _SHARD]
            file = None if store is None else store / folder / f"{start:08d}"
            kept = _kept(file, len(part))
            new = None if kept is None else _completed(kept, part, root, upright)
            if writes and (new is None or new is not kept):
                try:
                    # Of several processes one reads, the others wait for what it keeps.
                    with locked(store):
                        kept = _kept(file, len(part))
                        new = _completed(kept, part, root, upright)
                        if new is not kept:
                            with writing(file) as partial:
                                partial.write_bytes(_checksum(new.tobytes()) + new.tobytes())
                except StoreError as error:
                    logger.warning("The sizes of the images are read at each start: %s", error)
                    writes = False
            sizes.append(_completed(None, part, root, upright) if new is None else new)
            bar.update(len(part))
    return np.concatenate(sizes)


def _kept(file: Path | None, count: int) -> np.ndarray | None:
    """A shard that was kept (a checksum, then the sizes); None if it is missing or damaged."""
    if file is None or not file.is_file():
        return None
    content = file.read_bytes()
    checksum, sizes = content[:_CHECKSUM], content[_CHECKSUM:]
    if checksum != _checksum(sizes) or len(sizes) != count * 8:
        logger.warning("%s is damaged; the sizes of its images are read anew", file)
        return None
    return np.frombuffer(sizes, dtype=np.int32).reshape(count, 2)


def _checksum(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(_CHECKSUM, "big")


def _completed(
    kept: np.ndarray | None, paths: Sequence[str], root: Path, upright: bool
) -> np.ndarray:
    """A shard with the images that can be read by now; ``kept`` itself if there are none."""
    sizes = np.zeros((len(paths), 2), dtype=np.int32) if kept is None else kept.copy()
    bad = np.flatnonzero(~sizes.all(axis=1))
    files = [os.path.join(root, paths[image]) for image in bad]
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(lambda file: image_size(file, upright), files))
    sizes[bad] = np.asarray(found, dtype=np.int32).reshape(-1, 2)
    return sizes if kept is None or sizes[bad].any() else kept
