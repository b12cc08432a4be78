from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipvil_mmf.config import ConfigError, from_config
from clipvil_mmf.data.annotations import AnnotationError
from clipvil_mmf.data.images import (
    BadImageError,
    FitPad,
    ImageParams,
    ImageStore,
    Stretch,
    normalize,
)
from clipvil_mmf.preprocessing import CLIP_MEAN, CLIP_STD

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "data_side.json").read_text())
MEAN, STD = torch.tensor(CLIP_MEAN).view(3, 1, 1), torch.tensor(CLIP_STD).view(3, 1, 1)


def formula_image(width: int, height: int, mode: str) -> Image.Image:
    """The picture that the golden numbers were recorded on (its key `image_formula`)."""
    y, x, c = np.ogrid[:height, :width, :3]
    pixels = ((3 * x + 5 * y + 60 * c + (x * y) // 97) % 256).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("case", GOLDEN["preprocess"], ids=lambda c: f"{c['size']}{c['mode']}")
def test_fit_pad_is_the_published_preprocessing(case):
    transform = FitPad(384, 640)
    assert list(transform.resized(*case["size"])) == case["resized"]
    picture = torch.from_numpy(transform(formula_image(*case["size"], case["mode"])))
    (image,) = normalize([picture], MEAN, STD)
    assert list(image.shape) == case["tensor"]
    for channel, y, x, value in case["points"]:
        assert image[channel, y, x].item() == pytest.approx(value, abs=1e-5)
    assert image.double().mean().item() == pytest.approx(case["mean"], abs=1e-6)
    assert image.double().square().sum().item() == pytest.approx(case["sumsq"], rel=1e-6)


def test_mixed_canvases_are_cut_and_filled_as_published():
    pictures = [torch.full((3, 384, 640), 1, dtype=torch.uint8)]
    pictures.append(torch.full((3, 640, 384), 2, dtype=torch.uint8))
    unit = torch.zeros(3, 1, 1), torch.full((3, 1, 1), 1 / 255)
    images = normalize(pictures, *unit)
    assert list(images.shape) == GOLDEN["to_image_list"]["shape"]
    assert images.sum((1, 2, 3)).tolist() == pytest.approx(GOLDEN["to_image_list"]["sum"])


def test_normalize_is_clip_s():
    pictures = torch.randint(0, 256, (4, 3, 5, 7), dtype=torch.uint8)
    expected = (pictures.float() / 255 - MEAN) / STD
    images = normalize(list(pictures), MEAN, STD)
    assert images.dtype == torch.float32
    torch.testing.assert_close(images, expected, atol=2e-6, rtol=0)


def test_stretch_keeps_a_picture_of_the_right_size_and_resizes_others():
    image = formula_image(64, 48, "RGB")
    assert np.array_equal(Stretch(48, 64)(image), np.asarray(image).transpose(2, 0, 1))
    assert Stretch(20, 30)(image).shape == (3, 20, 30)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_every_mode_becomes_rgb(mode):
    assert Stretch(8, 8)(formula_image(8, 8, "RGB").convert(mode)).shape == (3, 8, 8)


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
    means = [picture.float().mean().item() for picture in store.read(range(5))]
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
        ({"image_size": [64]}, r"image_size: got \[64\], expected \[H, W\]"),
        ({"image_size": [64, 0]}, "image_size: got 0"),
        ({"mean": [0.5]}, "mean: expected one number for each"),
        ({"std": [1, 0, 1]}, "std: got .*expected positive"),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(ConfigError, match=f"here.{message}"):
        from_config(ImageParams, params, "here")
