"""What a request may be: each that is not is refused by one sentence."""

from __future__ import annotations

import base64
import io
import json
import zlib
from typing import Any

import pytest
from PIL import Image

from clipvil_mmf.deploying.asking import (
    Asked,
    Limits,
    RefusedError,
    from_form,
    from_json,
    read_images,
)
from tests.deploying.models import PHOTOS, small_model

LIMITS = Limits(upload=5000, pixels=10_000, questions=3, question_length=20)


def png(image: Image.Image = PHOTOS[0], kind: str = "PNG") -> bytes:
    """An image as a file."""
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


FILE = png()
TEXT = base64.b64encode(FILE).decode()


def bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes that says it has many pixels."""
    found = bytearray(png(Image.new("L", (1, 1))))
    found[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    found[29:33] = zlib.crc32(found[12:29]).to_bytes(4, "big")
    return bytes(found)


def test_json() -> None:
    asked = from_json(json.dumps({"image": TEXT, "question": "red?"}).encode(), LIMITS)
    assert asked == Asked((FILE,), ("red?",), 5, None)
    content = {
        "image": [TEXT, f"data:image/png;base64,{TEXT}"],
        "question": ["red?", "blue?"],
        "top_k": 2,
        "threshold": 0.5,
    }
    found = from_json(json.dumps(content).encode(), LIMITS)
    assert found == Asked((FILE, FILE), ("red?", "blue?"), 2, 0.5)
    assert found.key != asked.key


def test_form() -> None:
    fields = [("image", FILE), ("question", "red?"), ("question", "blue?"), ("top_k", "2")]
    assert from_form([*fields, ("threshold", "0.5")], LIMITS) == Asked(
        (FILE,), ("red?", "blue?"), 2, 0.5
    )


GOOD = {"image": TEXT, "question": "red?"}


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"", 400, "not valid JSON"),
        (b"{", 400, "not valid JSON"),
        (b"\xff\xfe", 400, "not valid JSON"),
        (b"[" * 100_000, 400, "not valid JSON"),
        ([GOOD], 400, "not a JSON object"),
        ({"image": TEXT}, 400, "question: it is missing"),
        ({"question": "red?"}, 400, "image: it is missing"),
        ({**GOOD, "image": ""}, 400, "image: it is empty"),
        ({**GOOD, "image": None}, 400, "expected an image file as a text in base64"),
        ({**GOOD, "image": "http://10.0.0.1/a.png"}, 400, "addresses are not fetched"),
        ({**GOOD, "image": "file:///etc/passwd"}, 400, "addresses are not fetched"),
        ({**GOOD, "image": "ÿ" * 8}, 400, "in base64"),
        ({**GOOD, "image": "A" * 8000}, 413, "more than 0.00476837 MiB"),
        ({**GOOD, "question": 3}, 400, "expected a text that is not empty"),
        ({**GOOD, "question": " \n"}, 400, "expected a text that is not empty"),
        ({**GOOD, "question": "a" * 21}, 413, "has 21 characters; expected at most 20"),
        ({**GOOD, "question": ["a"] * 4}, 413, "got 4 of them, expected at most 3"),
        ({**GOOD, "question": []}, 400, "question: it is missing"),
        ({**GOOD, "question": "\ud800"}, 400, "not valid Unicode"),
        ({**GOOD, "top_k": 0}, 400, "top_k: expected a whole number from 1 to 100"),
        ({**GOOD, "top_k": True}, 400, "top_k: expected"),
        ({**GOOD, "top_k": 2.5}, 400, "top_k: expected"),
        ({**GOOD, "threshold": 2}, 400, "threshold: expected a number from 0 to 1"),
        ({**GOOD, "threshold": float("nan")}, 400, "threshold: expected"),
        ({**GOOD, "threshold": "0.5"}, 400, "threshold: expected"),
        ({**GOOD, "qestion": "red?"}, 400, "'qestion': unknown field; expected image, question"),
        ({**GOOD, "\ud800": 1}, 400, "unknown field"),
    ],
)
def test_json_that_is_refused(content: Any, status: int, message: str) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    with pytest.raises(RefusedError) as raised:
        from_json(body, LIMITS)
    assert raised.value.status == status and message in raised.value.message
    assert "\n" not in raised.value.message and raised.value.message.endswith(".")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([("image", "a text"), ("question", "red?")], "image: expected a file"),
        ([("image", FILE), ("question", b"red?")], "question: expected a text"),
        ([("image", FILE), ("question", "red?"), ("top_k", "two")], "top_k: expected a number"),
        ([("file", FILE)], "'file': unknown field"),
        ([], "image: it is missing"),
    ],
)
def test_forms_that_are_refused(fields: Any, message: str) -> None:
    with pytest.raises(RefusedError, match=message) as raised:
        from_form(fields, LIMITS)
    assert raised.value.status == 400


@pytest.mark.parametrize(
    ("image", "status", "message"),
    [
        (b"no image", 400, "cannot be decoded; expected one of JPEG"),
        (FILE[:60], 400, "cannot be decoded"),
        (bomb(9_000, 9_000), 413, "9000x9000 pixels; expected at most 0.01 million"),
        (bomb(30_000, 30_000), 413, "too many pixels; expected at most 0.01 million"),
        (bomb(100, 100), 400, "cannot be decoded"),  # within the limit, without its pixels
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 400, "cannot be decoded"),
    ],
    ids=["text", "cut", "large", "bomb", "without pixels", "postscript"],
)
def test_files_that_are_refused(image: bytes, status: int, message: str) -> None:
    with pytest.raises(RefusedError) as raised:
        read_images(Asked((image,), ("red?",)), small_model(), LIMITS)
    assert raised.value.status == status and message in raised.value.message
    assert "object at" not in raised.value.message


def test_as_many_images_as_a_question_is_about() -> None:
    model = small_model("two passes")
    assert len(read_images(Asked((FILE, FILE), ("red?",)), model, LIMITS)) == 2
    with pytest.raises(RefusedError, match=r"image: got 1 image, expected 2\."):
        read_images(Asked((FILE,), ("red?",)), model, LIMITS)
