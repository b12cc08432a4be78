"""What the readers of rows share: fields of the expected type, with clear errors.

Nothing is turned into a string that is none: a NaN, a list or an answer's number would be trained
on in silence. Names of images and kinds of questions may be integers.

Whatever is not as it should be is an ``AnnotationError``, whose message names ``what`` (the field
that a value is of) and ``where`` (the row).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from reprlib import repr as short
from typing import Any

import numpy as np

from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.text_files import half_character

_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff")
_COCO = re.compile(r"COCO_(train2014|val2014|test2015)_\d{12}\.")


def one_file(files: Sequence[Path], format_name: str) -> Path:
    """The question file of a format that has its answers in it."""
    path, *others = files
    if others:
        raise AnnotationError(
            f"{path} is of the format {format_name!r}, which has no annotation file, but "
            f"{others[0]} is given as one; expected official VQA questions beside it. Name the "
            "question file alone, or correct it"
        )
    return path


def field(row: Any, names: tuple[str, ...], where: str) -> Any:
    """The first of these fields that the row has: ``names`` are its name, then its other ones."""
    if not isinstance(row, dict):
        raise AnnotationError(f"{where} is {short(row)}; expected an object with a question_id")
    for name in names:
        if row.get(name) is not None:
            return row[name]
    found = sorted(short(str(name)) for name, value in row.items() if value is not None)
    raise AnnotationError(f"{where} has no {names[0]!r} (found {', '.join(found[:30])}); add it")


def string(value: Any, what: str, where: str) -> str:
    """The value itself, if it is a string that can be written (no half of a character)."""
    if not isinstance(value, str):
        kind = type(value).__name__
        raise AnnotationError(f"{where} has the {what} {short(value)} ({kind}); expected a string")
    half = half_character(value)
    if half:
        raise AnnotationError(
            f"{where} has the {what} {short(value)} with {half!r}, half of a character; "
            "expected Unicode text. Was it cut within an emoji?"
        )
    return value


def text(row: Any, names: tuple[str, ...], where: str) -> str:
    """``field``, which has to be a string."""
    return string(field(row, names, where), names[0], where)


def name(value: Any, what: str, where: str) -> str:
    """A string, or an integer as one: names of images and of kinds of questions."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(value)
    return string(value, what, where)


def image_file(name: str) -> str:
    """The path of an image in its folder: COCO's lie in a folder for each of its sets.

    A name without the ending of an image is that of a JPEG file.
    """
    file = name if name.lower().endswith(_ENDINGS) else f"{name}.jpg"
    coco = _COCO.match(file)
    return f"{coco[1]}/{file}" if coco else file


def question_id(row: Any, where: str, names: tuple[str, ...] = ("question_id",)) -> Any:
    """The id of a question; ``check_ids`` looks at all of them together."""
    found = field(row, names, where)
    if isinstance(found, np.integer):
        return int(found)
    if isinstance(found, int) and not isinstance(found, bool):
        return found
    if not isinstance(found, str):
        raise AnnotationError(
            f"{where} has the {names[0]} {short(found)}; expected an integer or a string"
        )
    return string(found, names[0], where)


def people(found: Any, what: str, where: str) -> tuple[str, ...]:
    """What people answered, at least one, a string each."""
    if not isinstance(found, list | tuple | np.ndarray) or getattr(found, "ndim", 1) != 1:
        raise AnnotationError(f"{where} has the {what} {short(found)}; expected a list of strings")
    if not len(found):
        raise AnnotationError(f"{where} has no {what}: the list is empty; expected one at least")
    with suppress(TypeError):  # not all are strings
        if "".join(found).isascii():  # most are
            return tuple(found)
    return tuple(string(answer, "answer", where) for answer in found)


def said(found: Any, where: str) -> tuple[str, ...]:
    """``people`` of a list of VQA's ``{"answer": ..., ...}``."""
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise AnnotationError(
            f"{where} has the answers {short(found)}; expected a list of {{'answer': ...}}"
        )
    return people([one.get("answer") for one in found], "answers", where)


def label(row: Mapping[str, Any], where: str) -> dict[str, float] | None:
    """LXMERT's soft label ``{answer: score}``, or GQA's one answer; ``None`` without either."""
    found = row.get("label")
    if found is None:
        answer = row.get("answer")
        return None if answer is None else {string(answer, "answer", where): 1.0}
    return soft_label(found, where)


def soft_label(found: Any, where: str) -> dict[str, float]:
    """A soft label ``{answer: score}`` of scores in [0, 1], as it is."""
    if not isinstance(found, dict):
        raise AnnotationError(f"{where} has the label {short(found)}; expected {{answer: score}}")
    for answer, score in found.items():
        string(answer, "answer", where)
        if isinstance(score, bool) or not isinstance(score, (int, float)) or not 0 <= score <= 1:
            raise AnnotationError(
                f"{where} gives the answer {short(answer)} the score {short(score)}; expected a "
                "number in [0, 1]"
            )
    return found


def kinds(row: Mapping[str, Any], names: tuple[str, ...], where: str) -> dict[str, str]:
    """The types of a question that the row has."""
    return {key: name(row[key], key, where) for key in names if row.get(key) is not None}
