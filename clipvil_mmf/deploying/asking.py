"""What a request asks: checked before anything is computed; every refusal is one sentence."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from clipvil_mmf.data.image_files import FORMATS, opened_image
from clipvil_mmf.data.images import BadImageError
from clipvil_mmf.hub import Answerer

FIELDS = ("image", "question", "top_k", "threshold")
_MOST_ANSWERS = 100


class RefusedError(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        message: one sentence for the client, which says nothing of the server's inside.
        retry_after: seconds after which it may be tried once more; None where that is no use.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after = status, message, retry_after


@dataclass(frozen=True)
class Limits:
    """What a request may have at most."""

    upload: int = 10 * 2**20  # bytes of an image file
    pixels: int = 50_000_000  # of an image, before it is resized
    questions: int = 32
    question_length: int = 500  # characters
    waiting: int = 64  # requests at once
    timeout: float = 30.0  # seconds from a request to its answer

    def body(self, images: int) -> int:
        """Bytes of a request: of its images in base64, and of all else."""
        texts = 8 * self.questions * self.question_length
        return images * (self.upload * 4 // 3 + 4) + texts + 2**16


@dataclass(frozen=True)
class Asked:
    """A request."""

    images: tuple[bytes, ...]  # files
    questions: tuple[str, ...]
    top_k: int = 5
    threshold: float | None = None  # for the server's own

    @property
    def key(self) -> bytes:
        """Equal for requests about the same images."""
        parts = (hashlib.sha256(image).digest() for image in self.images)
        return b"".join(parts)


def from_json(body: bytes, limits: Limits) -> Asked:
    """The request of a JSON object: image (base64, or a list), question (or a list), and options.

    Raises:
        RefusedError: it is something else, or is beyond the limits.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "The body is not valid JSON.") from error
    if not isinstance(content, dict):
        raise RefusedError(
            400, "The body is not a JSON object; expected the fields image and question."
        )
    _check_names(content)
    images, questions = (
        one if isinstance(one, list) else [one]
        for one in (content.get("image", []), content.get("question", []))
    )
    files = tuple(map(_from_base64, images))
    options = {name: content[name] for name in ("top_k", "threshold") if name in content}
    return _checked(files, questions, options, limits)


def from_form(fields: Sequence[tuple[str, str | bytes]], limits: Limits) -> Asked:
    """The request of a form: files ``image``, and texts ``question`` (each as often as wanted).

    Raises:
        RefusedError: it is something else, or is beyond the limits.
    """
    _check_names([name for name, _ in fields])
    images: list[bytes] = []
    questions: list[str] = []
    options: dict[str, Any] = {}
    for name, value in fields:
        if (name == "image") != isinstance(value, bytes):
            raise RefusedError(400, f"{name}: expected a {'file' if name == 'image' else 'text'}.")
        if name == "image":
            images.append(value)
        elif name == "question":
            questions.append(value)
        else:
            options[name] = _number(name, value)
    return _checked(tuple(images), questions, options, limits)


def read_images(asked: Asked, answerer: Answerer, limits: Limits) -> list[np.ndarray]:
    """The pictures that the model takes of a request's images.

    Raises:
        RefusedError: there are more or fewer than a question is about, or one is not an image, or
            is beyond the limits.
    """
    wanted = answerer.task.images_per_sample
    if len(asked.images) != wanted:
        count = f"{len(asked.images)} image{'s' * (len(asked.images) != 1)}"
        raise RefusedError(400, f"image: got {count}, expected {wanted}.")
    for image in asked.images:
        _check_pixels(image, limits)
    try:
        return answerer.read(asked.images if wanted > 1 else asked.images[0])
    except BadImageError:
        pass
    # Not in the clause: the refusal would refer to the error, and that to the pixels.
    raise _not_an_image()


def _check_pixels(image: bytes, limits: Limits) -> None:
    """Look at an image's size; nothing is decoded."""
    most = f"expected at most {limits.pixels / 1e6:g} million"
    try:
        with opened_image(io.BytesIO(image)) as opened:
            width, height = opened.size
    except Image.DecompressionBombError as error:
        raise RefusedError(413, f"image: it has too many pixels; {most}.") from error
    # Damaged files raise whatever their half-read bytes lead to.
    except Exception as error:
        raise _not_an_image() from error
    if width * height > limits.pixels:
        raise RefusedError(413, f"image: it has {width}x{height} pixels; {most}.")


def _not_an_image() -> RefusedError:
    return RefusedError(400, f"image: it cannot be decoded; expected one of {', '.join(FORMATS)}.")


def _check_names(names: Any) -> None:
    unknown = [name for name in names if name not in FIELDS]
    if unknown:
        raise RefusedError(
            400, f"{unknown[0][:40]!r}: unknown field; expected {', '.join(FIELDS)}."
        )


def _from_base64(text: Any) -> bytes:
    if not isinstance(text, str):
        raise RefusedError(400, "image: expected an image file as a text in base64.")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusedError(
            400, "image: expected an image file in base64; addresses are not fetched."
        ) from error


def _number(name: str, text: str) -> float | int:
    kind = int if name == "top_k" else float
    try:
        return kind(text)
    except ValueError as error:
        raise RefusedError(400, f"{name}: expected a number.") from error


def _checked(
    images: tuple[bytes, ...], questions: Sequence[Any], options: dict[str, Any], limits: Limits
) -> Asked:
    """The request, if it is within the limits."""
    if not images:
        raise RefusedError(400, "image: it is missing.")
    for image in images:
        if not image:
            raise RefusedError(400, "image: it is empty.")
        if len(image) > limits.upload:
            raise RefusedError(413, f"image: it has more than {limits.upload / 2**20:g} MiB.")
    if not questions:
        raise RefusedError(400, "question: it is missing.")
    if len(questions) > limits.questions:
        raise RefusedError(
            413, f"question: got {len(questions)} of them, expected at most {limits.questions}."
        )
    for question in questions:
        _check_question(question, limits)
    top_k, threshold = options.get("top_k", 5), options.get("threshold")
    if type(top_k) is not int or not 1 <= top_k <= _MOST_ANSWERS:
        raise RefusedError(400, f"top_k: expected a whole number from 1 to {_MOST_ANSWERS}.")
    if threshold is not None and not (type(threshold) in (int, float) and 0 <= threshold <= 1):
        raise RefusedError(400, "threshold: expected a number from 0 to 1.")
    return Asked(images, tuple(questions), top_k, threshold)


def _check_question(question: Any, limits: Limits) -> None:
    if not isinstance(question, str) or not question.strip():
        raise RefusedError(400, "question: expected a text that is not empty.")
    if len(question) > limits.question_length:
        raise RefusedError(
            413,
            f"question: it has {len(question):,} characters; expected at most "
            f"{limits.question_length:,}.",
        )
    try:
        question.encode()
    except UnicodeEncodeError as error:  # half of a pair, which JSON can spell
        raise RefusedError(400, "question: it is not valid Unicode.") from error
