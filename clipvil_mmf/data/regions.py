"""Region features that a detector has written: one entry an image -> one padded batch.

Understood, and told apart by what `path` is:

* a folder with one ``<image>.npz`` an image: ``features`` (R, C), ``boxes`` (R, 4) as left, top,
  right, bottom in pixels, ``width`` and ``height`` of the image in pixels;
* a folder in MMF's layout: ``<image>.npy`` and ``<image>_info.npy``;
* an LMDB in MMF's layout (``*.lmdb``).

``<image>`` is the image's file name without its extension; folders are searched with all that lies
below them. MMF's two layouts hold pickles: use them only from a source that you trust.
"""

from __future__ import annotations

import functools
import os
import pickle
import zipfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import lmdb
import numpy as np
import torch
from mmf.datasets.databases.readers.feature_readers import (
    LMDBFeatureReader,
    PaddedFasterRCNNFeatureReader,
)

from clipvil_mmf.config import check_at_least

# Detectors round: a box may leave its image by this part of its size, and is clipped.
OVERSHOOT = 0.01

# What numpy, zipfile, pickle and lmdb raise for damaged files; KeyError is a part that lacks.
_DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    lmdb.Error,
)

_NPZ_KEYS = ("features", "boxes", "width", "height")
_INFO_KEYS = ("bbox", "image_width", "image_height")
_INFO_SUFFIX = "_info.npy"


class BadRegionsError(ValueError):
    """Region features that are missing or cannot be used; the message names the file."""


@dataclass
class RegionParams:
    """Where the region features are.

    Args:
        path: a folder or an LMDB, see the top of this file.
        max_regions: an image's regions after these are left out; detectors write the surest first.
    """

    path: str
    max_regions: int = 100

    def __post_init__(self) -> None:
        check_at_least("max_regions", self.max_regions, 1)


class ImageRegions(NamedTuple):
    """The regions of one image."""

    # (R, C) float32.
    features: torch.Tensor
    # (R, 4) float32: left, top, right, bottom in [0, 1], as fractions of width and height.
    boxes: torch.Tensor


class RegionStore:
    """The region features of a list of images, read when asked for; used like ``ImageStore``.

    Args:
        images: paths or names of images; only the file name without its extension counts.
        params: where the features are.

    Raises:
        BadRegionsError: no such folder or LMDB, or an image that it lacks (the first is named).
    """

    def __init__(self, images: Sequence[str], params: RegionParams) -> None:
        self._names = [Path(image).stem for image in images]
        self._max_regions = params.max_regions
        path = Path(params.path).expanduser()
        if not path.exists():
            raise BadRegionsError(
                f"Region features {path} do not exist; expected a folder of .npz files or of MMF's "
                ".npy files, or MMF's .lmdb. Correct features.path in the dataset's configuration"
            )
        self._files: dict[str, Path] = {}
        self._lmdb: str | None = None
        if path.suffix == ".lmdb":
            self._lmdb = str(path.resolve())
            _check_lmdb(self._lmdb, self._names)
        else:
            self._files = _find_files(path, set(self._names))
            _check_presence(self._names, self._files, str(path))

    def __len__(self) -> int:
        return len(self._names)

    def read(self, rows: Sequence[int]) -> list[ImageRegions]:
        """Return the regions of these images.

        Raises:
            BadRegionsError: an entry that cannot be read, of wrong shapes, or with boxes outside
                the image.
        """
        return [self._read(self._names[row]) for row in rows]

    def _read(self, name: str) -> ImageRegions:
        if self._lmdb is not None:
            reader, path = _lmdb_reader(self._lmdb), f"{self._lmdb}/{name}.npy"
            reader.max_loc = self._max_regions
            where = f"{self._lmdb}, entry {name}"
            return self._checked(lambda: _read_mmf(reader, path, self._max_regions), where)
        file = self._files[name]
        if file.suffix == ".npz":
            return self._checked(lambda: _read_npz(file), str(file))
        # Each file gets a reader of its own: MMF's remembers the layout of its first file.
        reader = PaddedFasterRCNNFeatureReader(self._max_regions)
        return self._checked(lambda: _read_mmf(reader, str(file), self._max_regions), str(file))

    def _checked(self, read: Callable[[], _Raw], where: str) -> ImageRegions:
        try:
            features, boxes, width, height = read()
        except _DAMAGED as error:
            raise _unreadable(where, error) from error
        regions = min(len(features), self._max_regions)
        if features.ndim != 2 or boxes.shape != (len(features), 4) or regions == 0:
            raise BadRegionsError(
                f"Region features {where}: features have shape {features.shape} and boxes "
                f"{boxes.shape}; expected (R, C) and (R, 4), R being at least 1. Extract it again"
            )
        scaled = boxes[:regions] / np.array([width, height, width, height], dtype=np.float32)
        # Written so that a NaN is caught as well.
        if not (scaled.min() >= -OVERSHOOT and scaled.max() <= 1 + OVERSHOOT):
            raise BadRegionsError(
                f"Region features {where}: boxes reach from {scaled.min():.3g} to "
                f"{scaled.max():.3g} of the image's size; expected 0 to 1. Are they left, top, "
                f"right, bottom in pixels of an image of {width:g}x{height:g} (width x height)?"
            )
        return ImageRegions(
            torch.from_numpy(np.ascontiguousarray(features[:regions], dtype=np.float32)),
            torch.from_numpy(scaled.clip(0, 1)),
        )


def pad_regions(images: Sequence[ImageRegions]) -> dict[str, torch.Tensor]:
    """Make a batch of the regions of its unique images, padded to the most that one has.

    Returns:
        ``region_features`` (B_img, R, C) float32, ``region_boxes`` (B_img, R, 4) float32, and
        ``region_mask`` (B_img, R) int64, 1 for regions, 0 for padding.

    Raises:
        BadRegionsError: the images have features of different widths.
    """
    widths = {image.features.shape[1] for image in images}
    if len(widths) > 1:
        raise BadRegionsError(
            f"Region features of {' and '.join(map(str, sorted(widths)))} numbers are in one "
            "batch; expected one width. Extract all images with one detector"
        )
    counts = torch.tensor([len(image.features) for image in images])
    features, boxes = (
        torch.nn.utils.rnn.pad_sequence(list(part), batch_first=True)
        for part in zip(*images, strict=True)
    )
    mask = (torch.arange(features.shape[1]) < counts[:, None]).long()
    return {"region_features": features, "region_boxes": boxes, "region_mask": mask}


# features (R, C), boxes (R, 4) in pixels, width and height of the image in pixels.
_Raw = tuple[np.ndarray, np.ndarray, float, float]


def _read_npz(file: Path) -> _Raw:
    with np.load(file) as arrays:
        features, boxes, width, height = (arrays[key] for key in _NPZ_KEYS)
    return features, boxes.astype(np.float32), float(width), float(height)


def _read_mmf(reader: PaddedFasterRCNNFeatureReader, path: str, max_regions: int) -> _Raw:
    features, info = reader.read(path)
    boxes, width, height = (info[key] for key in _INFO_KEYS)
    # MMF pads features with zeros and says how many were there.
    regions = min(int(info["max_features"]), max_regions)
    boxes = np.asarray(boxes, dtype=np.float32)[:regions]
    return features.numpy()[:regions], boxes, float(width), float(height)


def _find_files(folder: Path, names: set[str]) -> dict[str, Path]:
    """The file of each image, in the folder or below it."""
    found: dict[str, Path] = {}
    for parent, _, files in os.walk(folder):
        for file in files:
            name, suffix = os.path.splitext(file)
            if suffix not in (".npz", ".npy") or file.endswith(_INFO_SUFFIX) or name not in names:
                continue
            path = Path(parent, file)
            if name in found:
                raise BadRegionsError(
                    f"Region features of {name} are there twice, in {found[name]} and {path}; "
                    "expected one file. Name a folder that has one of them in features.path"
                )
            found[name] = path
    return found


@functools.cache
def _lmdb_reader(path: str) -> LMDBFeatureReader:
    """The process's one reader of an LMDB: splits share it, because LMDB opens a file only once."""
    return LMDBFeatureReader(1, path)


def _check_lmdb(path: str, names: Sequence[str]) -> None:
    """Look up every image; the LMDB is closed again, so that workers open it themselves."""
    reader = _lmdb_reader(path)
    if reader.env is None:
        try:
            reader._init_db()
        except (lmdb.Error, TypeError) as error:  # TypeError: it has no list of its keys
            raise BadRegionsError(
                f"Region features {path} are no LMDB of MMF's ({error}); expected a database with "
                "the entry 'keys'. Was the download complete?"
            ) from error
        finally:
            if reader.env is not None:
                reader.env.close()
                reader.env = None
    keys = {key.decode() for key in reader.image_id_indices}
    present = {name for name in names if name in keys or _number(name) in keys}
    _check_presence(names, present, path)


def _number(name: str) -> str:
    """MMF's key of COCO images: COCO_val2014_000000000042 -> 42."""
    last = name.rsplit("_", 1)[-1]
    return str(int(last)) if last.isdecimal() else name


def _check_presence(names: Sequence[str], present: Collection[str], where: str) -> None:
    lacking = [name for name in dict.fromkeys(names) if name not in present]
    if lacking:
        raise BadRegionsError(
            f"{where} has no region features of {len(lacking)} images, the first is {lacking[0]!r};"
            " expected an entry for each. Extract them, or correct features.path"
        )


def _unreadable(where: str, error: Exception) -> BadRegionsError:
    what = f"{error} lacks" if isinstance(error, KeyError) else str(error)
    return BadRegionsError(
        f"Region features {where} cannot be read: {what}. Expected {', '.join(_NPZ_KEYS)} in an "
        f".npz, or MMF's .npy with {', '.join(_INFO_KEYS)} in its {_INFO_SUFFIX}. Extract it again"
    )
