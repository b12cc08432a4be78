"""Grid features in files: the compact format of ``clipvil features``, written and read back.

A folder with ``features.json`` (what made them) and shards ``*.arrow``, one row an image:

============  =======================  ============================================================
field         type                     meaning
============  =======================  ============================================================
``image``     string                   see ``image_key``
``height``    int16                    h, rows of the grid
``width``     int16                    w, its columns
``features``  large_list<float16 or    the grid, row by row, C numbers a cell; of projected ones D
              float32>
``mask``      list<uint8>              1 for cells that show some of the image, 0 for padding; empty
                                       where all do
============  =======================  ============================================================

Shards are mapped into memory, of which no process holds a copy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from clipvil_mmf.atomic import replacing
from clipvil_mmf.data.table import map_table
from clipvil_mmf.text_files import read_text
from mmf_bridge.common.shared_batches import empty

DESCRIPTION = "features.json"
RAW, PROJECTED = "raw", "projected"
# What the files hold, the tower's features or visual tokens of a fusion's width -> its field of a
# batch.
FIELDS = {RAW: "grid_features", PROJECTED: "projected_features"}
DTYPES = {"fp16": np.float16, "fp32": np.float32}


class BadGridsError(ValueError):
    """Grid features that are missing or cannot be used; the message names the file."""


class ImageGrid(NamedTuple):
    """The grid features of one image."""

    features: np.ndarray  # (h, w, C) float16 or float32
    mask: np.ndarray | None = None  # (h, w) uint8, 0 for padding; None where there is none


def image_key(path: str) -> str:
    """An image's name in the files: its path without the ending, of which three parts count.

    Paths of the catalogue's datasets are relative to their folder; those of easy-VQA are absolute.
    """
    return "/".join(Path(path).with_suffix("").parts[-3:])


def schema(dtype: str) -> pa.Schema:
    """The fields of a shard; ``dtype`` is one of ``DTYPES``."""
    number = pa.from_numpy_dtype(DTYPES[dtype])
    fields = {
        "image": pa.string(),
        "height": pa.int16(),
        "width": pa.int16(),
        "features": pa.large_list(pa.field("item", number, nullable=False)),
        "mask": pa.list_(pa.field("item", pa.uint8(), nullable=False)),
    }
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields.items()])


class ShardWriter:
    """Adds grids to a shard that is being written, each a record batch of its own."""

    def __init__(self, writer: pa.ipc.RecordBatchFileWriter, dtype: str) -> None:
        self._writer, self._schema, self._dtype = writer, schema(dtype), DTYPES[dtype]

    def add(self, key: str, grid: ImageGrid) -> None:
        """Write one image's grid."""
        height, width = grid.features.shape[:2]
        numbers = pa.array(np.ascontiguousarray(grid.features, self._dtype).reshape(-1))
        mask = pa.array([] if grid.mask is None else grid.mask.reshape(-1), pa.uint8())
        kinds = self._schema.field("features").type, self._schema.field("mask").type
        columns = [
            pa.array([key]),
            pa.array([height], pa.int16()),
            pa.array([width], pa.int16()),
            pa.LargeListArray.from_arrays(
                pa.array([0, len(numbers)], pa.int64()), numbers, kinds[0]
            ),
            pa.ListArray.from_arrays(pa.array([0, len(mask)], pa.int32()), mask, kinds[1]),
        ]
        self._writer.write_batch(pa.record_batch(columns, schema=self._schema))


@contextmanager
def writing_shard(file: Path, dtype: str) -> Iterator[ShardWriter]:
    """Write a shard, which takes its name when it is whole."""
    with (
        replacing(file) as partial,
        pa.OSFile(str(partial), "wb") as sink,
        pa.ipc.new_file(sink, schema(dtype)) as writer,
    ):
        yield ShardWriter(writer, dtype)


def grid_folders(path: Path) -> list[Path]:
    """The folders of grid features at or right below a path; none where it has others."""
    return [file.parent for place in ("", "*/") for file in sorted(path.glob(place + DESCRIPTION))]


def read_description(folder: Path) -> dict[str, Any]:
    """What made the features of a folder, by its ``features.json``."""
    file = folder / DESCRIPTION
    try:
        found = json.loads(read_text(file))
    except (OSError, ValueError, RecursionError) as error:
        raise BadGridsError(
            f"{file} cannot be read: {error}. Extract the features again"
        ) from error
    if not isinstance(found, dict):
        raise BadGridsError(f"{file} is not a JSON object. Extract the features again")
    return found


class GridStore:
    """The grid features of a list of images, mapped from files; used like ``RegionStore``.

    Args:
        images: their paths, see ``image_key``.
        path: a folder that ``clipvil features --layout compact`` wrote, or one above several.
        masks_padding: give the masks of the padding that ``fit_pad`` puts around images.

    Raises:
        BadGridsError: files that cannot be used, or an image that they lack (the first is named).
    """

    def __init__(self, images: Sequence[str], path: Path, masks_padding: bool = False) -> None:
        self._masks_padding = masks_padding
        wanted: dict[str, list[int]] = {}
        for row, image in enumerate(images):
            wanted.setdefault(image_key(image), []).append(row)
        self._files: list[Path] = []
        # Of each image its shard, and its row there.
        self._shard = np.full(len(images), -1, dtype=np.int32)
        self._row = np.zeros(len(images), dtype=np.int32)
        self.sizes = np.zeros((len(images), 2), dtype=np.int32)  # (I, 2), w and h in cells
        contents = {self._content(folder): folder for folder in grid_folders(path)}
        if len(contents) > 1:
            raise BadGridsError(
                f"{contents[RAW]} has a tower's features, and {contents[PROJECTED]} projected "
                "ones; expected one kind. Name another features.path, or extract the images again"
            )
        self._field = FIELDS[next(iter(contents), RAW)]
        for folder in grid_folders(path):
            for file in sorted(folder.glob("*.arrow")):
                self._look_for(wanted, file)
        lacking = np.flatnonzero(self._shard < 0)
        if len(lacking):
            raise BadGridsError(
                f"{path} has no grid features of {len(lacking)} images, the first is "
                f"{images[int(lacking[0])]!r}. Extract them (`clipvil features` goes on where it "
                "stopped), or correct features.path"
            )
        self._tables: dict[int, pa.Table] = {}

    def __len__(self) -> int:
        return len(self._shard)

    def __getstate__(self) -> dict[str, Any]:
        """A spawned worker maps the files itself."""
        return {**self.__dict__, "_tables": {}}

    def _content(self, folder: Path) -> str:
        """What the compact files of a folder hold, one of ``FIELDS``."""
        described = read_description(folder)
        layout, content = described.get("layout"), described.get("content", RAW)
        if layout != "compact":
            raise BadGridsError(
                f"{folder} has grid features for MMF's own models ({layout}); expected those of "
                "`clipvil features --layout compact`"
            )
        if content not in list(FIELDS):  # it may be no string
            raise BadGridsError(
                f"{folder / DESCRIPTION}: its content is {content!r}; expected one of "
                f"{', '.join(FIELDS)}. Extract the features again"
            )
        return content

    def _look_for(self, wanted: dict[str, list[int]], file: Path) -> None:
        """Note which of the wanted images a shard has."""
        table = _open(file)
        names = table["image"].to_pylist()
        sizes = np.stack([table["width"].to_numpy(), table["height"].to_numpy()], axis=1)
        for place, name in enumerate(names):
            for row in wanted.get(name, ()):
                self._shard[row], self._row[row] = len(self._files), place
                self.sizes[row] = sizes[place]
        self._files.append(file)

    def read(self, rows: Sequence[int]) -> list[ImageGrid]:
        """The grids of these images, views of the mapped files."""
        return [self._read(row) for row in rows]

    def _read(self, row: int) -> ImageGrid:
        number, place = int(self._shard[row]), int(self._row[row])
        if number not in self._tables:
            self._tables[number] = _open(self._files[number])
        table = self._tables[number]
        width, height = self.sizes[row].tolist()
        numbers = table["features"][place].values.to_numpy(zero_copy_only=True)
        if not _are_finite(numbers):
            raise BadGridsError(
                f"{self._files[number]}: some numbers of the grid of {table['image'][place]} are "
                "infinite or no numbers (NaN). Extract it again"
            )
        mask = table["mask"][place].values.to_numpy() if self._masks_padding else ()
        shown = mask.reshape(height, width) if len(mask) else None
        return ImageGrid(numbers.reshape(height, width, -1), shown)

    def batch(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """The fields of a batch with these images, see ``pad_grids``."""
        return pad_grids(self.read(rows), self._field)


def pad_grids(grids: Sequence[ImageGrid], field: str = FIELDS[RAW]) -> dict[str, torch.Tensor]:
    """Make a batch of grids, padded right and below to the largest.

    Returns:
        ``field`` (B_img, C, H, W) float16 or float32 in channels_last; and ``grid_mask``
        (B_img, H, W) int64, 1 for cells, 0 for padding, where there is some. Grids of different
        widths C are a ``BadGridsError``.
    """
    shapes = {grid.features.shape for grid in grids}
    channels = {shape[-1] for shape in shapes}
    if len(channels) > 1:
        raise BadGridsError(
            f"Grid features of {' and '.join(map(str, sorted(channels)))} channels are in one "
            "batch; expected one width. Extract all images with one model"
        )
    height, width = (max(shape[axis] for shape in shapes) for axis in (0, 1))
    dtype = torch.float16 if grids[0].features.dtype == np.float16 else torch.float32
    features = empty((len(grids), height, width, *channels), dtype)
    mask = torch.zeros(len(grids), height, width, dtype=torch.long)
    cells = features.numpy()
    for row, grid in enumerate(grids):
        high, wide = grid.features.shape[:2]
        if (high, wide) != (height, width):
            cells[row] = 0
        cells[row, :high, :wide] = grid.features
        shown = np.ones((high, wide), np.int64) if grid.mask is None else grid.mask
        mask[row, :high, :wide] = torch.from_numpy(shown.astype(np.int64))
    batch = {field: features.permute(0, 3, 1, 2)}
    return batch if bool(mask.all()) else {**batch, "grid_mask": mask}


def _open(file: Path) -> pa.Table:
    """Map a shard; ``BadGridsError``: it is not one."""
    try:
        table = map_table(file)
        if table.schema.remove_metadata() not in [schema(dtype) for dtype in DTYPES]:
            raise ValueError(f"its fields are {', '.join(map(str, table.schema))}")
        table.validate(full=True)
        _check_grids(table)
    # Damaged files raise whatever their half-read bytes lead to.
    except Exception as error:
        raise BadGridsError(
            f"{file} is not a shard of grid features ({error}). Remove it and extract it again: "
            "`clipvil features` goes on where it stopped"
        ) from error
    return table


def _check_grids(table: pa.Table) -> None:
    """Raise ``ValueError`` unless each grid of a shard has numbers, and a mask, of its size."""
    lists = [chunk.values for name in ("features", "mask") for chunk in table[name].chunks]
    if any(column.null_count for column in (*table.columns, *lists)):
        raise ValueError("some of its values are missing")
    height, width = (table[name].to_numpy().astype(np.int64) for name in ("height", "width"))
    numbers, shown = (pc.list_value_length(table[n]).to_numpy() for n in ("features", "mask"))
    cells = height * width
    fits = (height > 0) & (width > 0) & (numbers > 0) & (numbers % np.maximum(cells, 1) == 0)
    wrong = np.flatnonzero(~(fits & ((shown == 0) | (shown == cells))))
    if len(wrong):
        row = wrong[0]
        raise ValueError(
            f"the grid of {table['image'][int(row)]} has {numbers[row]} numbers and a mask of "
            f"{shown[row]} for {height[row]}x{width[row]} cells"
        )


def _are_finite(numbers: np.ndarray) -> bool:
    """As ``np.isfinite(numbers).all()``, which takes many times longer for float16."""
    if numbers.dtype != np.float16:
        return bool(np.isfinite(numbers).all())
    return bool((numbers.view(np.uint16) & 0x7FFF).max() < 0x7C00)  # the exponent is not all ones
