from __future__ import annotations

import json
import logging
import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageOps, features
from PIL.PngImagePlugin import PngImageFile

from clipvil_mmf.config import ConfigError, from_config
from clipvil_mmf.data import image_files
from clipvil_mmf.data.batching import aspect_groups
from clipvil_mmf.data.image_files import image_size
from clipvil_mmf.data.images import (
    BadImageError,
    FitPad,
    ImageParams,
    ImageStore,
    Stretch,
    build_transform,
    decode,
    on_one_canvas,
)
from clipvil_mmf.data.questions import AnnotationError, Question
from clipvil_mmf.preprocessing import (
    CLIP_MEAN,
    CLIP_STD,
    images_of,
    normalize,
    pixel_statistics,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "data_side.json").read_text())
MEAN, STD = torch.tensor(CLIP_MEAN).view(3, 1, 1), torch.tensor(CLIP_STD).view(3, 1, 1)
STATISTICS = pixel_statistics(CLIP_MEAN, CLIP_STD)


def formula_image(width: int, height: int, mode: str) -> Image.Image:
    """The picture that the golden numbers were recorded on (its key `image_formula`)."""
    y, x, c = np.ogrid[:height, :width, :3]
    pixels = ((3 * x + 5 * y + 60 * c + (x * y) // 97) % 256).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("case", GOLDEN["preprocess"], ids=lambda c: f"{c['size']}{c['mode']}")
def test_fit_pad_is_the_published_preprocessing(case):
    transform = FitPad(384, 640)
    assert list(transform.resized(*case["size"])) == case["resized"]
    picture = transform(formula_image(*case["size"], case["mode"]))
    (image,) = normalize(on_one_canvas([picture], 1).pixels, STATISTICS)
    assert list(image.shape) == case["tensor"]
    for channel, y, x, value in case["points"]:
        assert image[channel, y, x].item() == pytest.approx(value, abs=1e-5)
    assert image.double().mean().item() == pytest.approx(case["mean"], abs=1e-6)
    assert image.double().square().sum().item() == pytest.approx(case["sumsq"], rel=1e-6)


def published_canvas(width: int, height: int, short: int, long: int) -> tuple[int, int]:
    """(H, W) of the canvas, stated once more: a resize with a limit, then the rule."""
    side = short
    if max(width, height) / min(width, height) * side > long:
        side = round(long * min(width, height) / max(width, height))
    if width < height:
        new_width, new_height = side, int(side * height / width)
    else:
        new_height, new_width = side, int(side * width / height)
    return (short, long) if new_width > new_height else (long, short)


def test_the_canvas_is_chosen_after_the_resize():
    """The truncation makes some landscape images square; a group of images has one canvas."""
    random = np.random.default_rng(0)
    sizes = random.integers(1, 1200, (1000, 2)).tolist()
    sizes += [[side + 1, side] for side in random.integers(300, 900, 50).tolist()]
    sizes += [[640, 639], [500, 499], [480, 479], [639, 640], [640, 638], [1000, 301]]
    transform = FitPad(384, 640)
    groups = aspect_groups(np.array(sizes), transform.is_portrait)
    for (width, height), group in zip(sizes, groups.tolist(), strict=True):
        canvas = published_canvas(width, height, 384, 640)
        assert canvas == ((640, 384) if group else (384, 640)), (width, height)
    assert groups[-6:].tolist() == [1, 1, 1, 1, 0, 0]
    for size in [(640, 639), (500, 499), (480, 479), (640, 638)]:
        picture = transform(Image.new("RGB", size))
        assert picture.shape == (3, *published_canvas(*size, 384, 640))


def test_mixed_canvases_are_cut_and_filled_as_published():
    pictures = [np.full((3, 384, 640), 1, np.uint8), np.full((3, 640, 384), 2, np.uint8)]
    pixels, sizes = on_one_canvas(pictures, 2)
    images = normalize(pixels, pixel_statistics([0] * 3, [1 / 255] * 3), sizes)
    assert list(images.shape) == GOLDEN["to_image_list"]["shape"]
    assert images.sum((1, 2, 3)).tolist() == pytest.approx(GOLDEN["to_image_list"]["sum"])


def test_normalize_is_clip_s():
    pictures = torch.randint(0, 256, (4, 3, 5, 7), dtype=torch.uint8)
    expected = (pictures.float() / 255 - MEAN) / STD
    images = normalize(pictures, STATISTICS)
    assert images.dtype == torch.float32
    torch.testing.assert_close(images, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("wanted", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("is_nhwc", [True, False])
def test_normalized_pixels_do_not_depend_on_the_layout(is_nhwc, wanted):
    """To the bit what a worker used to compute: a subtraction and a division of each pixel."""
    pixels = torch.arange(256, dtype=torch.uint8).repeat(6).view(2, 3, 16, 16)
    mean, std = MEAN * 255, STD * 255
    expected = pixels.float().sub_(mean).div_(std)
    if is_nhwc:
        pixels = pixels.contiguous(memory_format=torch.channels_last)
    images = normalize(pixels, STATISTICS, memory_format=wanted)
    assert torch.equal(images, expected) and images.is_contiguous(memory_format=wanted)


def test_what_a_small_picture_leaves_of_its_canvas_is_zero_after_normalising():
    shapes = [(4, 6), (6, 4), (4, 6), (2, 9)]
    pictures = [np.full((3, *shape), 9, np.uint8) for shape in shapes]
    pixels, sizes = on_one_canvas(iter(pictures), 4)
    assert sizes.tolist() == [[4, 6], [4, 4], [4, 6], [2, 6]]
    images = normalize(pixels, STATISTICS, sizes)
    value = (9 - STATISTICS[0]) / STATISTICS[1]
    for image, (height, width) in zip(images, sizes.tolist(), strict=True):
        assert torch.equal(image[:, :height, :width], value.view(3, 1, 1).expand(3, height, width))
        assert not image[:, height:].any() and not image[:, :, width:].any()


def test_images_of_a_batch():
    pixels, sizes = on_one_canvas([np.full((3, 2, w), 9, np.uint8) for w in (3, 2)], 2)
    batch = {"images": pixels, "pixel_statistics": STATISTICS, "image_sizes": sizes}
    images = images_of(batch)
    assert torch.equal(images, normalize(pixels, STATISTICS, sizes))
    assert torch.equal(images_of(batch, torch.tensor([1])), images[1:])
    given = {"images": torch.rand(2, 3, 2, 3)}  # normalised by whoever made them
    assert images_of(given) is given["images"]


def test_an_rgb_picture_is_not_copied():
    image = formula_image(64, 48, "RGB")
    assert Stretch(48, 64).picture(image) is image


def test_stretch_keeps_a_picture_of_the_right_size_and_resizes_others():
    image = formula_image(64, 48, "RGB")
    assert np.array_equal(Stretch(48, 64)(image), np.asarray(image).transpose(2, 0, 1))
    assert Stretch(20, 30)(image).shape == (3, 20, 30)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_every_mode_becomes_rgb(mode):
    assert Stretch(8, 8)(formula_image(8, 8, "RGB").convert(mode)).shape == (3, 8, 8)


def gradient(dtype: str, white: float) -> Image.Image:
    pixels = np.tile(np.linspace(0, 1, 96), (64, 1))
    scaled = pixels * white + (0.5 if dtype[0] in "ui" else 0)
    return Image.fromarray(scaled.astype(dtype))


@pytest.mark.parametrize(
    ("dtype", "white", "ending"),
    [
        ("uint16", 65535, "png"),
        ("uint16", 65535, "tiff"),
        ("int32", 65535, "tiff"),
        ("int32", 255, "tiff"),
        ("float32", 1, "tiff"),
        ("float32", 255, "tiff"),
        ("float32", 65535, "tiff"),
    ],
)
@pytest.mark.parametrize("transform", [FitPad(64, 96), Stretch(64, 96)])
def test_more_than_eight_bits_are_scaled(tmp_path, dtype, white, ending, transform):
    gradient("uint8", 255).save(tmp_path / "eight.png")
    gradient(dtype, white).save(tmp_path / f"a.{ending}")
    expected = decode(str(tmp_path / "eight.png"), transform).astype(int)
    found = decode(str(tmp_path / f"a.{ending}"), transform).astype(int)
    assert np.abs(found - expected).max() <= 1
    assert expected.max() > 250


@pytest.mark.parametrize("values", [(-1, 3), (0, 1e6), (0, float("nan"))])
def test_pixels_of_unknown_scale_are_refused(tmp_path, values):
    Image.fromarray(np.array([values] * 2, dtype=np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(BadImageError, match=r"a\.tiff .*pixels reach from .*; expected 0 to 1"):
        decode(str(tmp_path / "a.tiff"), Stretch(8, 8))


@pytest.mark.parametrize("ending", ["webp", "avif", "gif", "bmp", "ppm", "jp2", "tiff"])
def test_formats_that_are_read(tmp_path, ending):
    if ending == "avif" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    file = tmp_path / f"a.{ending}"
    Image.new("RGB", (8, 8), (200, 40, 40)).save(file)
    shutil.copy(file, tmp_path / "renamed.jpg")
    for path in (file, tmp_path / "renamed.jpg"):
        picture = decode(str(path), Stretch(8, 8))
        assert np.abs(picture.mean((1, 2)) - [200, 40, 40]).max() < 15
        assert image_size(path, False) == (8, 8)


def png(width: int, height: int) -> bytes:
    """The head of a PNG file, and some pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            len(content).to_bytes(4, "big")
            + name
            + content
            + zlib.crc32(name + content).to_bytes(4, "big")
        )

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels)


@pytest.fixture(params=["eps", "high", "large", "fifo", "device", "folder", "nul", "below_a_file"])
def strange(tmp_path, request) -> str:
    """What must not be opened, or must not be decoded."""
    path = tmp_path / "a.jpg"
    match request.param:
        case "eps":
            path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
        case "high":
            path.write_bytes(png(1, 100_000_000))
        case "large":
            path.write_bytes(png(60_000, 60_000))
        case "fifo":
            os.mkfifo(path)
        case "device":
            return "/dev/zero"
        case "folder":
            path.mkdir()
        case "nul":
            return str(tmp_path / "a\0b.jpg")
        case "below_a_file":
            path.write_bytes(b"")
            return str(path / "b.jpg")
    return str(path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_strange_files_are_bad_images(strange, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(BadImageError, match=r"jpg|/dev/zero"):
        decode(strange, Stretch(8, 8))
    assert image_size(strange, False) == (0, 0)


def test_whatever_a_decoder_raises_is_a_bad_image(image_dir, monkeypatch):
    """Pillow's decoders raise far more than OSError for damaged files."""
    for error in (KeyError, IndexError, RuntimeError, struct.error, zlib.error, MemoryError):

        def fail(*_: object, error: type[Exception] = error) -> None:
            raise error

        monkeypatch.setattr(Image.Image, "load", fail)
        monkeypatch.setattr(PngImageFile, "load", fail)
        store = ImageStore([str(image_dir / "0.png")], Stretch(8, 8), blank_shape=(3, 8, 8))
        assert error.__name__ in str(store.bad[0])


@pytest.fixture
def rotated(tmp_path) -> str:
    """Landscape as it is stored, red on top; portrait, red on its right, for every viewer."""
    image = Image.new("RGB", (96, 64), "blue")
    image.paste("red", (0, 0, 96, 32))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    image.save(tmp_path / "phone.jpg", exif=exif)
    return str(tmp_path / "phone.jpg")


@pytest.mark.parametrize("name", ["fit_pad", "stretch"])
def test_exif_rotation(rotated, caplog, monkeypatch, name):
    monkeypatch.setattr(image_files, "_remarked", False)
    params = ImageParams(image_transform=name, image_size=[64, 96])
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            stored = decode(rotated, build_transform(params))
    assert stored.shape == (3, 64, 96) and stored[0, 5, 48] > 200
    assert caplog.text.count("rotated by an EXIF tag, such as") == 1
    caplog.clear()
    params.exif_rotation = "apply"
    upright = decode(rotated, build_transform(params))
    assert upright.shape == ((3, 96, 64) if name == "fit_pad" else (3, 64, 96))
    assert upright[0, 40, -3] > 200 and upright[0, 40, 3] < 50
    assert not caplog.text


@pytest.mark.parametrize("orientation", range(9))
def test_every_rotation_is_that_of_pillow(tmp_path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    formula_image(32, 48, "RGB").save(tmp_path / "a.png", exif=exif)
    transform = build_transform(ImageParams(image_size=[48, 32], exif_rotation="apply"))
    with Image.open(tmp_path / "a.png") as image:
        expected = Stretch(48, 32)(ImageOps.exif_transpose(image))
    assert np.array_equal(decode(str(tmp_path / "a.png"), transform), expected)


@pytest.mark.parametrize("rotation", ["ignore", "apply"])
@pytest.mark.parametrize("tags", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"x"])
def test_damaged_tags_turn_nothing(tmp_path, rotation, tags):
    Image.new("RGB", (96, 64)).save(tmp_path / "a.jpg", exif=tags)
    transform = build_transform(ImageParams("fit_pad", [64, 96], exif_rotation=rotation))
    assert decode(str(tmp_path / "a.jpg"), transform).shape == (3, 64, 96)
    assert image_size(tmp_path / "a.jpg", True) == (96, 64)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tiff"])
def test_sizes_agree_with_the_pictures(tmp_path, ending):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8
    file = tmp_path / f"a.{ending}"
    Image.new("RGB", (96, 64)).save(file, exif=exif)
    shapes = []
    for rotation in ("ignore", "apply"):
        params = ImageParams("fit_pad", [64, 96], exif_rotation=rotation)
        shape = decode(str(file), build_transform(params)).shape
        size = image_size(file, rotation == "apply")
        (group,) = aspect_groups(np.array([size]), build_transform(params).is_portrait)
        assert shape == ((3, 96, 64) if group else (3, 64, 96))
        shapes.append(shape)
    # Pillow turns TIFF files in any case.
    assert shapes == [(3, 96, 64) if ending == "tiff" else (3, 64, 96), (3, 96, 64)]


def test_a_batch_of_rotated_images_has_one_canvas(make_dataset, rotated, questions):
    records = [Question(i, "is it red?", rotated, {"red": 1.0}) for i in range(2)] + [
        Question(2 + i, question.text, question.image, question.answers)
        for i, question in enumerate(questions)
    ]
    section = {"image_transform": "fit_pad", "image_size": [8, 12], "group_by_aspect_ratio": True}
    for rotation, groups in (("ignore", 2), ("apply", 1)):
        dataset = make_dataset(records, exif_rotation=rotation, **section)
        batches = dataset.build_batch_sampler(32, False, 0, 0, 1)
        made = [dataset.__getitems__(batch) for batch in batches]
        assert len(made) == groups and not any("image_sizes" in batch for batch in made)


@pytest.fixture
def damaged(image_dir) -> list[str]:
    """Image 1 is truncated, image 2 is text, image 3 is missing."""
    paths = [str(image_dir / f"{i}.png") for i in range(5)]
    content = Path(paths[1]).read_bytes()
    Path(paths[1]).write_bytes(content[: len(content) * 2 // 3])
    Path(paths[2]).write_text("<html>404</html>")
    Path(paths[3]).unlink()
    return paths


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        (1, r"1\.png \(\d+ bytes\) cannot be decoded: .*Fetch it again, or set on_bad_image: skip"),
        (2, r"2\.png \(16 bytes\) cannot be decoded"),
        (3, r"3\.png does not exist; expected an image file"),
    ],
)
def test_bad_image_raises_and_names_the_file(damaged, in_memory, row, message):
    with pytest.raises(BadImageError, match=message):
        ImageStore([damaged[row]], Stretch(8, 8), in_memory=in_memory).read([0])


def test_missing_image_is_found_at_once(damaged):
    with pytest.raises(BadImageError, match="does not exist"):
        ImageStore(damaged, Stretch(8, 8))


@pytest.mark.parametrize("in_memory", [True, False])
def test_bad_images_become_black_pictures(damaged, in_memory):
    store = ImageStore(damaged, Stretch(8, 8), in_memory=in_memory, blank_shape=(3, 8, 8))
    assert sorted(store.bad) == [1, 2, 3]
    means = store.read(range(5)).pixels.float().mean((1, 2, 3)).tolist()
    assert means == [0, 0, 0, 0, 40]


def test_skip_leaves_questions_out_of_training_only(make_dataset, damaged, caplog):
    with caplog.at_level(logging.WARNING):
        train = make_dataset(on_bad_image="skip")
    assert len(train) == 12 - 6
    assert (
        "toy train: 3 of 5 images are missing or damaged; 6 questions are left out" in caplog.text
    )
    caplog.clear()
    test = make_dataset(dataset_type="test", on_bad_image="skip")
    assert len(test) == 12
    assert "6 questions are answered with a black picture" in caplog.text
    assert test.collate(test.__getitems__(range(12))).images.shape == (5, 3, 8, 8)


def test_skip_of_all_images_is_an_error(make_dataset, image_dir):
    for path in image_dir.iterdir():
        path.write_bytes(b"")
    with pytest.raises(AnnotationError, match="none of its questions can be used: on_bad_image"):
        make_dataset(on_bad_image="skip")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"image_transform": "crop"}, "image_transform: unknown value 'crop'.*stretch, fit_pad"),
        ({"on_bad_image": "ignore"}, "on_bad_image: unknown value 'ignore'.*raise, skip"),
        ({"exif_rotation": "turn"}, "exif_rotation: unknown value 'turn'.*ignore, apply"),
        ({"image_size": [64]}, r"image_size: got \[64\], expected \[H, W\]"),
        ({"image_size": [64, 0]}, "image_size: got 0"),
        ({"mean": [0.5]}, "mean: expected one number for each"),
        ({"std": [1, 0, 1]}, "std: got .*expected positive"),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(ConfigError, match=f"here.{message}"):
        from_config(ImageParams, params, "here")


def test_a_model_from_outside_asks_for_no_endless_pictures() -> None:
    with pytest.raises(ConfigError, match="image_size: got 10000000, expected at most 4096 a side"):
        ImageParams(image_size=[10_000_000, 96])
