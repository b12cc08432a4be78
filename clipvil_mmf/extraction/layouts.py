"""Where features go: one file an image for MMF's readers, MMF's LMDB, or our compact shards.

Whatever is written is whole or not there; a second start asks for what is lacking.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from clipvil_mmf.atomic import replacing
from clipvil_mmf.data.grids import DESCRIPTION, DTYPES, ImageGrid, image_key, writing_shard
from clipvil_mmf.registry import Registry

# Images that are encoded and, in a shard or a transaction, written together.
_UNIT = 64
_SHARD_BYTES, _SHARD_IMAGES = 2**30, 1024
# Of a file system's blocks and of LMDB's pages.
_BLOCK = 4096

Add = Callable[[int, ImageGrid], None]


class ExtractionError(ValueError):
    """Features that cannot be extracted or written; the message says what to do."""


@dataclass(frozen=True)
class Images:
    """What is to be written."""

    paths: Sequence[str]  # of the image files, as messages name them
    names: Sequence[str]  # as the question table has them
    grid: tuple[int, int, int]  # h, w and C of most of them
    canvas: tuple[int, int]  # height and width in pixels that this grid is of
    dtype: str  # of DTYPES

    @property
    def bytes_per_image(self) -> int:
        """What a grid takes."""
        return int(np.prod(self.grid)) * DTYPES[self.dtype]().itemsize


class Layout:
    """Writes the features of a split.

    Args:
        folder: of the split's features, whatever of them is there.
        images: what is to be written.

    Attributes:
        description: the file that says what made the features.
        default_dtype: where the user names none.
        is_mmfs: whether MMF's own data sets read it.
        ending: of the folder's name.
    """

    default_dtype = "fp16"
    is_mmfs = True
    ending = ""

    def __init__(self, folder: Path, images: Images) -> None:
        self.folder, self.images = folder, images
        self.description = folder / DESCRIPTION
        if self.is_mmfs:
            self._check_names()

    def _check_names(self) -> None:
        """MMF finds features by the name of the image file alone."""
        found: dict[str, str] = {}
        for name in self.images.names:
            other = found.setdefault(Path(name).stem, name)
            if other != name:
                raise ExtractionError(
                    f"{other} and {name} would have one file of features: MMF tells images apart "
                    "by their file names. Rename one of them, or use --layout compact"
                )

    @property
    def written(self) -> Path:
        """The folder that is written into, by one command at a time."""
        return self.folder

    def units(self) -> list[list[int]]:
        """The rows of images whose features are lacking, in the parts that are written at once."""
        raise NotImplementedError(f"{type(self).__name__} lacks units")

    def unit(self, rows: Sequence[int]) -> Any:
        """A context that writes one of ``units``, and gives the function that adds a grid."""
        raise NotImplementedError(f"{type(self).__name__} lacks unit")

    def finish(self) -> None:
        """Called once when every unit is written."""

    def lacking_bytes(self, units: Sequence[Sequence[int]]) -> int:
        """What writing these units takes."""
        size = -(-(self.images.bytes_per_image + 256) // _BLOCK) * _BLOCK
        return sum(map(len, units)) * size


class _Files(Layout):
    """One npy file an image, by its file name."""

    def units(self) -> list[list[int]]:
        there = set(os.listdir(self.folder)) if self.folder.is_dir() else set()
        rows = [row for row in range(len(self.images.names)) if self._file(row) not in there]
        return [rows[start : start + _UNIT] for start in range(0, len(rows), _UNIT)]

    def unit(self, rows: Sequence[int]) -> Any:
        return nullcontext(self._add)

    def _add(self, row: int, grid: ImageGrid) -> None:
        features = np.ascontiguousarray(self.arranged(grid.features), DTYPES[self.images.dtype])
        with replacing(self.folder / self._file(row)) as partial:
            np.save(partial, features)

    def _file(self, row: int) -> str:
        return f"{Path(self.images.names[row]).stem}.npy"

    def arranged(self, features: np.ndarray) -> np.ndarray:
        """A grid (h, w, C) as the reader takes it."""
        raise NotImplementedError(f"{type(self).__name__} lacks arranged")


class PythiaFiles(_Files):
    """(1, h, w, C), which MMF's reader flattens to (h*w, C) and hands on in the file's type."""

    default_dtype = "fp32"

    def __init__(self, folder: Path, images: Images) -> None:
        super().__init__(folder, images)
        if images.dtype != "fp32":
            raise ExtractionError(
                f"--dtype {images.dtype}: MMF's reader of this layout hands features on as they "
                "are, and Pythia computes in fp32. Leave --dtype out, or use --layout lmdb"
            )

    def arranged(self, features: np.ndarray) -> np.ndarray:
        return features[None]


class McanFiles(_Files):
    """(1, C, h, w), which MMF main's reader puts on a square of zeros (C, s, s), in float32."""

    def arranged(self, features: np.ndarray) -> np.ndarray:
        return features.transpose(2, 0, 1)[None]


class Lmdb(Layout):
    """MMF's database: cells (N, C) that show some of the image, which its reader pads and counts.

    It has its name when every image is in it; until then it ends in ``.unfinished``.
    """

    ending = ".lmdb"

    def __init__(self, folder: Path, images: Images) -> None:
        super().__init__(folder, images)
        self.description = folder.with_name(f"{folder.name}.json")
        names = {Path(name).stem for name in images.names}
        for name in names:
            last = name.rsplit("_", 1)[-1]
            number = str(int(last)) if last.isdecimal() else name
            if number != name and number in names:
                raise ExtractionError(
                    f"MMF's reader would take the features of {number} for those of {name}: it "
                    "looks for the number at the end of a name. Rename one of them"
                )
        self._unfinished = folder.with_name(f"{folder.name}.unfinished")
        self._env: lmdb.Environment | None = None

    @property
    def written(self) -> Path:
        return self.folder if self.folder.is_dir() else self._unfinished

    def _opened(self) -> lmdb.Environment:
        if self._env is None:
            self._unfinished.mkdir(parents=True, exist_ok=True)
            room = 2 * self.lacking_bytes([range(len(self.images.names))]) + 2**28
            self._env = lmdb.open(str(self._unfinished), map_size=room, readahead=False)
        return self._env

    def _key(self, row: int) -> bytes:
        return Path(self.images.names[row]).stem.encode()

    def units(self) -> list[list[int]]:
        if self.folder.is_dir():
            return []
        with self._opened().begin() as transaction, transaction.cursor() as cursor:
            there = set(cursor.iternext(values=False))
        self.close()  # of several processes each opens it itself
        rows = [row for row in range(len(self.images.names)) if self._key(row) not in there]
        return [rows[start : start + _UNIT] for start in range(0, len(rows), _UNIT)]

    @contextmanager
    def unit(self, rows: Sequence[int]) -> Iterator[Add]:
        # The transaction is short: it keeps other processes from writing.
        entries: dict[bytes, bytes] = {}

        def add(row: int, grid: ImageGrid) -> None:
            entries[self._key(row)] = pickle.dumps(self._entry(row, grid))

        yield add
        with self._opened().begin(write=True) as transaction:
            for key, entry in entries.items():
                transaction.put(key, entry)

    def _entry(self, row: int, grid: ImageGrid) -> dict[str, Any]:
        height, width, channels = grid.features.shape
        side = max(self.images.canvas) / max(self.images.grid[:2])  # of a cell in pixels
        shown = np.ones((height, width), bool) if grid.mask is None else grid.mask.astype(bool)
        top, left = np.nonzero(shown)
        boxes = np.stack([left, top, left + 1, top + 1], axis=1) * side
        features = grid.features.reshape(-1, channels)[shown.reshape(-1)]
        return {
            "feature_path": Path(self.images.names[row]).stem,
            "features": np.ascontiguousarray(features, DTYPES[self.images.dtype]),
            "image_height": round(height * side),
            "image_width": round(width * side),
            "num_boxes": len(features),
            "bbox": boxes.astype(np.float32),
            "objects": np.zeros(len(features), np.int64),
            "cls_prob": np.ones((len(features), 1), np.float32),
        }

    def finish(self) -> None:
        if self.folder.is_dir():
            return
        keys = [self._key(row) for row in range(len(self.images.names))]
        with self._opened().begin(write=True) as transaction:
            transaction.put(b"keys", pickle.dumps(keys))
        self.close()
        (self._unfinished / "lock.mdb").unlink(missing_ok=True)
        self._unfinished.rename(self.folder)

    def close(self) -> None:
        """Close the database."""
        if self._env is not None:
            self._env.close()
        self._env = None


class Compact(Layout):
    """Our own: shards mapped into memory, see ``clipvil_mmf/data/grids.py``."""

    is_mmfs = False

    def __init__(self, folder: Path, images: Images) -> None:
        super().__init__(folder, images)
        self._keys = [image_key(name) for name in images.names]
        names: dict[str, str] = {}
        for key, name in zip(self._keys, images.names, strict=True):
            if names.setdefault(key, name) != name:
                raise ExtractionError(
                    f"{names[key]} and {name} would be one image: the last three parts of their "
                    "paths are the same. Rename one of them"
                )
        self._per_shard = max(1, min(_SHARD_IMAGES, _SHARD_BYTES // images.bytes_per_image))

    def units(self) -> list[list[int]]:
        rows = list(range(len(self._keys)))
        shards = [rows[start : start + self._per_shard] for start in rows[:: self._per_shard]]
        return [shard for shard in shards if not self._file(shard).is_file()]

    def _file(self, rows: Sequence[int]) -> Path:
        return self.folder / f"{rows[0]:08d}.arrow"

    @contextmanager
    def unit(self, rows: Sequence[int]) -> Iterator[Add]:
        with writing_shard(self._file(rows), self.images.dtype) as shard:
            yield lambda row, grid: shard.add(self._keys[row], grid)


# Name -> what writes it.
LAYOUTS: Registry[type[Layout]] = Registry(
    "layout",
    {"compact": Compact, "lmdb": Lmdb, "mmf_mcan": McanFiles, "mmf_pythia": PythiaFiles},
)
