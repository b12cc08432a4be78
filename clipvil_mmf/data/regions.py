"""Region features that a detector has written: entries per image -> one padded batch.

Understood, and told apart by what `path` is:

* a folder with one ``<image>.npz`` an image: ``features`` (R, C), ``boxes`` (R, 4) as left, top,
  right, bottom in pixels, ``width`` and ``height`` of the image in pixels;
* a folder in MMF's layout: ``<image>.npy`` and ``<image>_info.npy``;
* an LMDB in MMF's layout (``*.lmdb``).

``<image>`` is the image's file name without its extension; folders are searched with all that lies
below them. MMF's two layouts hold pickles, of which plain containers, numbers, strings and arrays
are read and nothing is run (``plain_pickle.py``).
"""

from __future__ import annotations

import functools
import os
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import lmdb
import numpy as np
import torch

from clipvil_mmf.config import check_at_least
from clipvil_mmf.data.lmdb_files import open_lmdb
from clipvil_mmf.plain_pickle import PlainUnpickler, load_npy
from mmf_bridge.common.shared_batches import empty

# Detectors round: a box may leave its image by this part of its size, and is clipped.
OVERSHOOT = 0.01

_LARGEST = 1 << 30  # bytes of an image's unpacked features; 100 regions have a thousandth of it

_NPZ_KEYS = ("features", "boxes", "width", "height")
_INFO_KEYS = ("bbox", "image_width", "image_height")
_INFO_SUFFIX = "_info.npy"


class BadRegionsError(ValueError):
    """Region features that are missing or cannot be used; the message names the file."""


@dataclass
class RegionParams:
    """Where the features of images are."""

    # Region features: a folder or an LMDB, see the top of this file. Grid features: a folder that
    # `clipvil features` wrote (grids.py), or the one above those of several splits.
    path: str
    # An image's regions after these are left out; detectors write the surest first.
    max_regions: int = 100
    # Of grid features: mask the cells that show nothing but the padding of fit_pad. The published
    # model sees them, as does one that reads images.
    mask_padding: bool = False

    def __post_init__(self) -> None:
        check_at_least("max_regions", self.max_regions, 1)


class ImageRegions(NamedTuple):
    """The regions of one image."""

    features: torch.Tensor  # (R, C) float32
    boxes: torch.Tensor  # (R, 4) float32: left, top, right, bottom as fractions of the image


class RegionStore:
    """The region features of a list of images, read when asked for; used like ``ImageStore``.

    Of ``images`` only the file names without their extensions count.

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
        self._lmdb = str(path.resolve())
        self._files: dict[str, Path] = {}
        if path.suffix == ".lmdb" or (path / "data.mdb").is_file():
            present: Collection[str] = _lmdb_reader(self._lmdb).present(self._names)
        else:
            present = self._files = _find_files(path, set(self._names))
        lacking = [name for name in dict.fromkeys(self._names) if name not in present]
        if lacking:
            raise BadRegionsError(
                f"{path} has no region features of {len(lacking)} images, the first is "
                f"{lacking[0]!r}; expected an entry for each. Extract them, or correct "
                "features.path"
            )

    def __len__(self) -> int:
        return len(self._names)

    def read(self, rows: Sequence[int]) -> list[ImageRegions]:
        """Return the regions of these images; a ``BadRegionsError`` says what is wrong with one."""
        return [self._read(self._names[row]) for row in rows]

    def _read(self, name: str) -> ImageRegions:
        file = self._files.get(name)
        where = f"Region features {file or f'{self._lmdb}, entry {name}'}"
        try:
            if file is None:
                raw = _read_mmf(_lmdb_reader(self._lmdb).read(name))
            else:
                raw = _read_npz(file) if file.suffix == ".npz" else _read_mmf(_load_mmf(file))
            features, boxes = (_numbers(part) for part in raw[:2])
            width, height = (float(np.asarray(length).item()) for length in raw[2:])
        # Damaged files raise whatever their half-read bytes lead to.
        except Exception as error:
            what = f"it lacks {error.args[0]}" if isinstance(error, KeyError) else str(error)
            raise BadRegionsError(
                f"{where} cannot be read: {what}. Expected {', '.join(_NPZ_KEYS)} "
                f"in an .npz, or MMF's .npy with {', '.join(_INFO_KEYS)} in its {_INFO_SUFFIX}. "
                "Extract it again"
            ) from error
        regions = min(len(features), self._max_regions) if features.ndim else 0
        if features.ndim != 2 or boxes.shape != (len(features), 4) or features.size == 0:
            raise BadRegionsError(
                f"{where}: features have shape {features.shape} and boxes {boxes.shape}; expected "
                "(R, C) and (R, 4), R and C being at least 1. Extract it again"
            )
        features, boxes = np.ascontiguousarray(features[:regions]), boxes[:regions]
        if not np.isfinite(features).all():
            raise BadRegionsError(
                f"{where}: some are infinite or no numbers (NaN). Extract it again"
            )
        if not (0 < width < np.inf and 0 < height < np.inf):
            raise BadRegionsError(
                f"{where}: an image of {width:g}x{height:g} (width x height); "
                "expected its size in pixels. Extract it again"
            )
        if 0 < boxes.max() <= 1 + OVERSHOOT and min(width, height) > 2:
            raise BadRegionsError(
                f"{where}: the boxes of an image of {width:g}x{height:g} all lie "
                "within 1 pixel. Are they fractions already? Expected are left, top, right, bottom "
                "in pixels: multiply them by width and height"
            )
        scaled = boxes / np.array([width, height, width, height], dtype=np.float32)
        # Written so that a NaN is caught as well.
        if not (scaled.min() >= -OVERSHOOT and scaled.max() <= 1 + OVERSHOOT):
            raise BadRegionsError(
                f"{where}: boxes reach from {scaled.min():.3g} to "
                f"{scaled.max():.3g} of the image's size; expected 0 to 1. Are they left, top, "
                f"right, bottom in pixels of an image of {width:g}x{height:g} (width x height)?"
            )
        if ((scaled[:, 2:] - scaled[:, :2]) < -OVERSHOOT).any():
            raise BadRegionsError(
                f"{where}: some boxes end before they begin. Are they left, top, width, height? "
                "Expected are left, top, right, bottom in pixels: add left and top to them"
            )
        return ImageRegions(torch.from_numpy(features), torch.from_numpy(scaled.clip(0, 1)))

    def batch(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """The fields of a batch with these images, see ``pad_regions``."""
        return pad_regions(self.read(rows))


def pad_regions(images: Sequence[ImageRegions]) -> dict[str, torch.Tensor]:
    """Make a batch of the regions of its unique images, padded to the most that one has.

    Returns:
        ``region_features`` (B_img, R, C) float32, ``region_boxes`` (B_img, R, 4) float32, and
        ``region_mask`` (B_img, R) int64, 1 for regions, 0 for padding. Features of different
        widths are a ``BadRegionsError``.
    """
    widths = {image.features.shape[1] for image in images}
    if len(widths) > 1:
        raise BadRegionsError(
            f"Region features of {' and '.join(map(str, sorted(widths)))} numbers are in one "
            "batch; expected one width. Extract all images with one detector"
        )
    counts = torch.tensor([len(image.features) for image in images])
    shape = len(images), int(counts.max())
    features = empty((*shape, *widths), torch.float32)
    boxes = torch.zeros(*shape, 4)
    for row, (image, count) in enumerate(zip(images, counts.tolist(), strict=True)):
        features[row, :count], features[row, count:] = image.features, 0
        boxes[row, :count] = image.boxes
    mask = (torch.arange(shape[1]) < counts[:, None]).long()
    return {"region_features": features, "region_boxes": boxes, "region_mask": mask}


# features (R, C), boxes (R, 4) in pixels, width and height of the image in pixels.
_Raw = tuple[Any, Any, Any, Any]


def _numbers(values: Any) -> np.ndarray:
    """The values as float32; what else numpy would make numbers of is a ``ValueError``."""
    found = np.asarray(values)
    if found.dtype.kind not in "biuf":
        raise ValueError(f"it has values of type {found.dtype}, not numbers")
    with np.errstate(over="ignore"):  # infinite ones are refused
        return found.astype(np.float32, copy=False)


def _read_npz(file: Path) -> _Raw:
    if not zipfile.is_zipfile(file):
        raise ValueError("it is not an .npz file, or was cut short")
    with np.load(file, allow_pickle=False) as arrays:
        if sum(record.file_size for record in arrays.zip.infolist()) > _LARGEST:
            raise ValueError(f"it unpacks to more than {_LARGEST} bytes")
        for key in _NPZ_KEYS:
            if key not in arrays.files:
                raise KeyError(key)
        features, boxes, width, height = (arrays[key] for key in _NPZ_KEYS)
    return features, boxes, width, height


def _load_mmf(file: Path) -> dict[str, Any]:
    """The entry of an image in MMF's folders, as its LMDBs have it."""
    entry = {"features": load_npy(file)}
    info = file.with_name(f"{file.stem}{_INFO_SUFFIX}")
    if info.is_file():
        entry.update(load_npy(info).item())
    return entry


def _read_mmf(entry: dict[str, Any]) -> _Raw:
    features = entry["features"]
    # Older extractors put features and info into one dictionary.
    if features.dtype == object and features.size == 1:
        item = features.item()
        entry = {**entry, **item.get("info", {})}
        features = item["feature"] if "feature" in item else item["image_feat"]
    boxes, width, height = (entry[key] for key in _INFO_KEYS)
    if features.ndim > 2:  # a grid
        features = features.reshape(-1, features.shape[-1])
    return features, boxes[: len(features)], width, height


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


class _Lmdb:
    """An LMDB in MMF's layout: ``keys``, and an entry for each of these."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.env: lmdb.Environment | None = None
        self._keys: set[bytes] = set()

    def present(self, names: Sequence[str]) -> set[str]:
        """Which of the images it has; it is closed again, so that workers open it themselves."""
        try:
            self._open()
        # Damaged files raise whatever their half-read bytes lead to.
        except Exception as error:
            raise BadRegionsError(
                f"Region features {self._path} are not an LMDB of MMF's ({error}); expected a "
                "database with the entry 'keys'. Was the download complete?"
            ) from error
        finally:
            if self.env is not None:
                self.env.close()
            self.env = None
        return {name for name in names if self._key(name) is not None}

    def read(self, name: str) -> dict[str, Any]:
        """The entry of an image; whatever a damaged one leads to is raised."""
        return self._load(self._open(), self._key(name))

    def _open(self) -> lmdb.Environment:
        """Open it, unless it is open, and read its keys."""
        if self.env is None:
            env = open_lmdb(self._path)
            try:
                self._keys = set(self._load(env, b"keys"))
            except BaseException:
                env.close()
                raise
            self.env = env
        return self.env

    def _key(self, name: str) -> bytes | None:
        """The key of an image: that of COCO's is a number, COCO_val2014_000000000042 -> 42."""
        last = name.rsplit("_", 1)[-1]
        number = str(int(last)) if last.isdecimal() else name
        return next((k for k in (number.encode(), name.encode()) if k in self._keys), None)

    def _load(self, env: lmdb.Environment, key: bytes | None) -> Any:
        with env.begin() as transaction:
            content = transaction.get(key)
        if content is None:
            raise KeyError(key.decode(errors="replace"))
        return PlainUnpickler(content).load()


@functools.cache
def _lmdb_reader(path: str) -> _Lmdb:
    """The process's one reader of an LMDB: splits share it, because LMDB opens a file only once."""
    return _Lmdb(path)
