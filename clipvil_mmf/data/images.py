"""Image files -> uint8 pictures -> one uint8 batch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import get_worker_info

from clipvil_mmf.config import ConfigError, check_at_least, check_choice
from clipvil_mmf.data.image_files import eight_bit, opened_image, remark_rotation, upright
from clipvil_mmf.preprocessing import CLIP_MEAN, CLIP_STD
from mmf_bridge.common.shared_batches import empty

# A side of a picture: far above what a tower takes, and a batch of them still fits in memory.
_LONGEST = 4096


class BadImageError(ValueError):
    """An image file that is missing or cannot be decoded; the message names it."""


@dataclass
class ImageParams:
    """How image files become pictures."""

    # stretch resizes to image_size whatever the aspect ratio; fit_pad is CLIP-ViL's (`FitPad`).
    image_transform: str = "stretch"
    # [H, W] of the pictures; for fit_pad of a landscape one, others get [W, H].
    image_size: list[int] = field(default_factory=lambda: [384, 640])
    # Subtracted from each of the red, green and blue channel in [0, 1], which std then divides.
    mean: list[float] = field(default_factory=lambda: list(CLIP_MEAN))
    std: list[float] = field(default_factory=lambda: list(CLIP_STD))
    # Decode every image of a split once, at start, and keep it as uint8 (3HW bytes).
    in_memory: bool = False
    # raise stops at a missing or truncated image. skip checks all images at start, leaves the
    # questions about bad ones out of training, answers them with a black picture in validation and
    # test (each question must be answered), and logs how many there are.
    on_bad_image: str = "raise"
    # ignore takes the pixels as they are stored, as published, and says so in the log where a
    # picture is rotated by its EXIF tag; apply turns it upright.
    exif_rotation: str = "ignore"

    def __post_init__(self) -> None:
        check_choice("image_transform", self.image_transform, ("stretch", "fit_pad"))
        check_choice("on_bad_image", self.on_bad_image, ("raise", "skip"))
        check_choice("exif_rotation", self.exif_rotation, ("ignore", "apply"))
        if len(self.image_size) != 2:
            raise ConfigError(f"image_size: got {list(self.image_size)}, expected [H, W].")
        for length in self.image_size:
            check_at_least("image_size", length, 1)
            if length > _LONGEST:
                raise ConfigError(f"image_size: got {length}, expected at most {_LONGEST} a side.")
        for name in ("mean", "std"):
            if len(getattr(self, name)) != 3:
                raise ConfigError(f"{name}: expected one number for each of red, green and blue.")
        if min(self.std) <= 0:
            raise ConfigError(f"std: got {list(self.std)}, expected positive numbers.")


class Transform:
    """Makes a model's picture of an image, as subclasses say.

    Args:
        height: of the landscape canvas.
        width: of the landscape canvas.
        turns: turn images upright by their EXIF tags, or say once in the log that they are not.
    """

    def __init__(self, height: int, width: int, turns: bool = False) -> None:
        self._height, self._width, self._turns = height, width, turns

    def __call__(self, image: Image.Image) -> np.ndarray:
        """Return (3, H, W) uint8, a view of (H, W, 3) that may not be written to."""
        worker = get_worker_info()
        if not self._turns and (worker is None or worker.id == 0):
            remark_rotation(image)
        image = eight_bit(image)
        picture = self.picture(upright(image) if self._turns else image)
        return np.asarray(picture).transpose(2, 0, 1)

    def is_portrait(self, width: int, height: int) -> bool:
        """Whether an image of this size (once turned) is portrait or square, and so its canvas."""
        return width <= height

    def picture(self, image: Image.Image) -> Image.Image:
        """The RGB picture of an image of 8 bits."""
        raise NotImplementedError(f"{type(self).__name__} makes no picture")

    def photo(self, image: Image.Image) -> Image.Image:
        """The image in RGB at its own size, turned as the picture shows it."""
        image = eight_bit(image)
        return as_rgb(upright(image) if self._turns else image)

    def place(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Where the picture shows an image of this size: left, top, width and height in pixels.

        The first are negative where it juts out.
        """
        raise NotImplementedError(f"{type(self).__name__} says no place")


class Stretch(Transform):
    """Resize to one size whatever the aspect ratio (bilinear); a picture of it stays as it is."""

    def picture(self, image: Image.Image) -> Image.Image:
        image, size = as_rgb(image), (self._width, self._height)
        return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)

    def place(self, width: int, height: int) -> tuple[int, int, int, int]:
        return 0, 0, self._width, self._height


class FitPad(Transform):
    """CLIP-ViL's preprocessing: resize into a landscape or portrait canvas, pad it with zeros.

    The short side becomes ``height`` unless the long one would exceed ``width``, then the short one
    is ``round(width * min / max)``; the other side is truncated to an integer; small images are
    scaled up. The picture stands in the middle (the odd pixel goes left and top; what juts out is
    cut off). The canvas is chosen after the resize: square images are portrait, and so are
    landscape ones that the truncation makes square, such as 640x639. Padding precedes
    normalisation. Source: published CLIP-ViL preprocessing (``Resize(384, 640)``).
    """

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Return (width, height) after the resize."""
        small, large = min(width, height), max(width, height)
        short = self._height
        if large / small * short > self._width:
            short = round(self._width * small / large)
        if width < height:
            return short, int(short * height / width)
        return int(short * width / height), short

    def is_portrait(self, width: int, height: int) -> bool:
        width, height = self.resized(width, height)
        return width <= height

    def picture(self, image: Image.Image) -> Image.Image:
        left, top, *size = self.place(*image.size)
        # The published order: the mode is converted after the resize.
        picture = as_rgb(image.resize(tuple(size), Image.Resampling.BILINEAR))
        canvas = Image.new("RGB", self._room(*image.size))
        canvas.paste(picture, (left, top))
        return canvas

    def place(self, width: int, height: int) -> tuple[int, int, int, int]:
        size = self.resized(width, height)
        room = self._room(width, height)
        # Rounded up.
        left, top = (-((length - most) // 2) for length, most in zip(size, room, strict=True))
        return left, top, *size

    def _room(self, width: int, height: int) -> tuple[int, int]:
        room = (self._width, self._height)
        return room[::-1] if self.is_portrait(width, height) else room


def as_rgb(image: Image.Image) -> Image.Image:
    """The image in RGB; itself, where it is that already (Pillow would copy it)."""
    return image if image.mode == "RGB" else image.convert("RGB")


class Pictures(NamedTuple):
    """The pictures of a batch."""

    # (B, 3, H, W) uint8 in channels_last, as decoders write; the canvas is that of the first
    # picture, as in the published code: others are placed top left, cut, or filled up.
    pixels: torch.Tensor
    sizes: torch.Tensor | None  # (B, 2) int64, height and width on it; None where all fill it


def on_one_canvas(pictures: Iterable[np.ndarray], count: int) -> Pictures:
    """Copy pictures, each (3, H, W) uint8, into one batch as they come; ``count`` of them."""
    canvas = sizes = None
    for row, picture in enumerate(pictures):
        if canvas is None:
            height, width = picture.shape[1:]
            pixels = empty((count, height, width, 3), torch.uint8).permute(0, 3, 1, 2)
            sizes, canvas = [], pixels.numpy()
        high, wide = min(height, picture.shape[1]), min(width, picture.shape[2])
        if (high, wide) != (height, width):
            canvas[row] = 0
        canvas[row, :, :high, :wide] = picture[:, :high, :wide]
        sizes.append((high, wide))
    fills = all(size == (height, width) for size in sizes)
    return Pictures(pixels, None if fills else torch.tensor(sizes))


def build_transform(params: ImageParams) -> Transform:
    """The transform that the parameters name."""
    chosen = FitPad if params.image_transform == "fit_pad" else Stretch
    return chosen(*params.image_size, params.exif_rotation == "apply")


class ImageStore:
    """The pictures of a split, read by row number.

    Args:
        paths: the image files; row i is ``paths[i]``, and it is asked for each time.
        transform: PIL image -> (3, H, W) uint8.
        in_memory: decode all files now and keep them.
        blank_shape: (3, H, W) of the black picture that stands for a bad image; with ``None`` a
            bad image raises.

    Raises:
        BadImageError: ``blank_shape`` is None and a file is missing (always found at once) or
            cannot be decoded (found now if ``in_memory``, otherwise when it is read).
    """

    def __init__(
        self,
        paths: Sequence[str],
        transform: Transform,
        *,
        in_memory: bool = False,
        blank_shape: tuple[int, int, int] | None = None,
    ) -> None:
        self._paths = paths
        self._transform = transform
        self._blank = None if blank_shape is None else np.zeros(blank_shape, np.uint8)
        self._kept: Sequence[np.ndarray] = ()
        self.bad: dict[int, BadImageError] = {}
        if in_memory or blank_shape is not None:
            self._read_all(keep=in_memory)
        else:
            self._check_presence()

    def read(self, rows: Sequence[int], joined: int = 1) -> Pictures:
        """Return the pictures of these rows, at least one; of each ``joined`` rows one picture."""
        pictures = (self._picture(row) for row in rows)
        return on_one_canvas(side_by_side(pictures, joined), len(rows) // joined)

    def _picture(self, row: int) -> np.ndarray:
        if len(self._kept):
            return self._kept[row]
        return self._blank if row in self.bad else self._decode(row)

    def _decode(self, row: int) -> np.ndarray:
        return decode(self._paths[row], self._transform)

    def _read_all(self, keep: bool) -> None:
        def read(row: int) -> np.ndarray | None:
            try:
                picture = self._decode(row)
            except BadImageError as error:
                if self._blank is None:
                    raise
                self.bad[row] = error
                picture = self._blank
            return picture if keep else None

        rows = range(len(self._paths))
        parts = [rows[start : start + 64] for start in range(0, len(rows), 64)]
        # PIL decodes without the interpreter lock; parts, as small images cost less than a task.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            read_parts = list(pool.map(lambda part: [*map(read, part)], parts))
        if keep:
            pictures = [picture for part in read_parts for picture in part]
            alike = len({picture.shape for picture in pictures}) == 1
            # One array for all: forked workers then share few large blocks.
            self._kept = np.stack(pictures) if alike else pictures

    def _check_presence(self) -> None:
        present: dict[str, set[str]] = {}
        for path in self._paths:
            folder, name = os.path.split(path)
            if folder not in present:
                present[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
            if name not in present[folder]:
                raise BadImageError(_missing(path))


def decode(path: str, transform: Transform) -> np.ndarray:
    """Read one image file: (3, H, W) uint8; raises ``BadImageError`` whatever is wrong with it."""
    try:
        with opened_image(path) as image:
            image.load()
            return transform(image)
    except FileNotFoundError as e:
        raise BadImageError(_missing(path)) from e
    # Damaged files raise whatever their half-read bytes lead to.
    except Exception as e:
        size = f" ({os.path.getsize(path)} bytes)" if os.path.isfile(path) else ""
        raise BadImageError(
            f"Image {path}{size} cannot be decoded: {str(e) or type(e).__name__}. Fetch it "
            "again, or set on_bad_image: skip in the dataset's configuration to leave it out"
        ) from e


def side_by_side(pictures: Iterable[np.ndarray], count: int) -> Iterator[np.ndarray]:
    """One picture (3, H, count * W) of each ``count`` (3, H, W), the first one on the left."""
    if count == 1:
        return iter(pictures)
    one_by_one = iter(pictures)
    samples = zip(*([one_by_one] * count), strict=True)
    return (np.concatenate(sample, axis=2) for sample in samples)


def _missing(path: str) -> str:
    return (
        f"Image {path} does not exist; expected an image file. Fetch it, correct the folder of the "
        "images (images_dir in the dataset's configuration), or leave it out (on_bad_image: skip)"
    )
