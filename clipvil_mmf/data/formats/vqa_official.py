"""VQA v2's own files: questions, and annotations with the answers of ten people, joined by id.

``{"data_subtype", "questions": [{"question_id", "question", "image_id"}, ...], ...}`` and
``{"annotations": [{"question_id", "answers": [{"answer"}, ...], "question_type", "answer_type",
"multiple_choice_answer"}, ...], ...}``; see https://visualqa.org/download.html. OK-VQA's
annotations, without ``multiple_choice_answer``, are read too.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as short
from typing import Any

import numpy as np

from clipvil_mmf.data.columns import Columns, Ragged, image_file
from clipvil_mmf.data.formats.json_stream import Progress, stream_json
from clipvil_mmf.data.formats.rows import field, name, people, question_id, string, text
from clipvil_mmf.data.questions import AnnotationError, check_ids
from clipvil_mmf.data.vqa_normalize import leave_one_out, normalize_answer

NAME = "official VQA v2 JSON"
_NONE = -1
_COCO_DIGITS = 12
_TEST_DEV = "test-dev2015"
_FOLDERS = {
    "train2014": "train2014",
    "val2014": "val2014",
    "test2015": "test2015",
    _TEST_DEV: "test2015",
}


def recognises(key: str | None, value: Any) -> bool:
    """Whether this element of the file shows that it is one of this format."""
    return key in ("questions", "data_subtype", "task_type", "annotations")


def read(files: Sequence[Path], progress: Progress) -> Columns:
    """Read a file of questions and, if it is given, the file of its annotations.

    Raises:
        AnnotationError: a bad row, or questions and annotations that do not fit together.
    """
    columns = _read_questions(files[0], progress)
    if len(files) > 1:
        _annotate(columns, files[1], progress)
    return columns


def is_test_dev(path: Path) -> bool:
    """Whether a file has the questions of test-dev alone."""
    for key, value in stream_json(path):
        if key == "data_subtype":
            return value == _TEST_DEV
    return False


def _read_questions(path: Path, progress: Progress) -> Columns:
    ids: list[int] = []
    texts: list[str] = []
    images: dict[str, int] = {}
    image_rows = array("i")
    subset = None
    fields: list[str] = []
    for key, value in stream_json(path, progress):
        if key == "data_subtype":
            subset = value
        elif key == "annotations":
            raise AnnotationError(
                f"{path} has the annotations; expected the file of the questions "
                "(v2_OpenEnded_mscoco_..._questions.json)"
            )
        elif key == "questions":
            where = f"{path}: question {len(ids)}"
            ids.append(question_id(value, where))
            fields = fields or list(value)
            texts.append(text(value, ("question",), where))
            image = name(field(value, ("image_id",), where), "image_id", where)
            image_rows.append(images.setdefault(image, len(images)))
    check_ids(ids, str(path))
    folder = _image_folder(subset, path)
    paths = [image_file(image) for image in images]
    columns = Columns(
        NAME, str(path), ids, texts, np.asarray(image_rows, np.int32), paths, fields=fields
    )
    if folder is None:
        return columns
    for image, number in images.items():
        if not (image.isascii() and image.isdigit() and len(image) <= _COCO_DIGITS):
            raise AnnotationError(
                f"{path}: question {image_rows.index(number)} has the image_id {image!r}; expected "
                f"COCO's number of the image, as the file has the data_subtype {subset!r}"
            )
    columns.images = [
        f"{folder}/COCO_{folder}_{int(image):0{_COCO_DIGITS}d}.jpg" for image in images
    ]
    return columns


def _image_folder(subset: Any, path: Path) -> str | None:
    """The folder of the images; None for a file that is not official, but has such rows."""
    if subset is None:
        return None
    if not isinstance(subset, str) or subset not in _FOLDERS:
        raise AnnotationError(
            f"{path} has the data_subtype {subset!r}; expected one of {', '.join(_FOLDERS)}, which "
            "name the folder of the images"
        )
    return _FOLDERS[subset]


def _annotate(columns: Columns, path: Path, progress: Progress) -> None:
    """Add what the annotations say to the questions."""
    ids: list[int] = []
    written: dict[str, int] = {}  # what people wrote -> its number
    sizes, rows, main = array("i"), array("i"), array("i")
    kinds: dict[str, list[str]] = {"question_type": [], "answer_type": []}
    for key, value in stream_json(path, progress):
        if key != "annotations":
            continue
        where = f"{path}: annotation {len(ids)}"
        ids.append(question_id(value, where))
        given = _people(value, where)
        rows.extend(written.setdefault(answer, len(written)) for answer in given)
        sizes.append(len(given))
        # OK-VQA has no main answer; the official evaluation does not ask for it.
        choice = value.get("multiple_choice_answer")
        if choice is not None:
            choice = string(choice, "multiple_choice_answer", where)
            choice = written.setdefault(choice, len(written))
        main.append(_NONE if choice is None else choice)
        for kind, column in kinds.items():
            column.append(name(field(value, (kind,), where), kind, where))
    check_ids(ids, str(path))
    order = _order(columns, np.asarray(ids), path)
    given = Ragged.of(sizes, rows).take(order)

    # Answers are counted after normalisation; the first `len(written)` texts are as written.
    texts = dict(written)
    normal = [texts.setdefault(normalize_answer(text), len(texts)) for text in written]
    normal_of = np.asarray(normal, dtype=np.int32)
    best = np.asarray(main)[order]
    best = np.where(best == _NONE, _NONE, normal_of[best])
    columns.answers, columns.scores = _scores(given, normal_of, best)
    columns.answer_texts = list(texts)
    columns.given = given
    columns.kinds = {name: [column[i] for i in order] for name, column in kinds.items()}


def _people(row: dict[str, Any], where: str) -> tuple[str, ...]:
    """What each of the people answered, as written."""
    found = field(row, ("answers",), where)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise AnnotationError(
            f"{where} has the answers {short(found)}; expected a list of {{'answer': ...}}"
        )
    return people([one.get("answer") for one in found], "answers", where)


def _order(columns: Columns, ids: np.ndarray, path: Path) -> np.ndarray:
    """(N,) for each question the position of its annotation."""
    wanted = np.asarray(columns.ids)
    by_id = np.argsort(ids, kind="stable")
    place = np.searchsorted(ids, wanted, sorter=by_id).clip(max=len(ids) - 1)
    order = by_id[place]
    lost = wanted[ids[order] != wanted]
    if len(lost) or len(ids) != len(wanted):
        example = f", such as {lost[0]}" if len(lost) else ""
        raise AnnotationError(
            f"{path} does not belong to {columns.source}: {len(lost)} of {len(wanted)} questions "
            f"have no annotation{example}, and there are {len(ids)} annotations. Fetch both files "
            "of one split"
        )
    return order


def _scores(given: Ragged, normal_of: np.ndarray, main: np.ndarray) -> tuple[Ragged, np.ndarray]:
    """The distinct normalised answers of each question and their soft scores, the main one first.

    Args:
        given: what people wrote.
        normal_of: the number of the normalised text of each written one.
        main: (N,) the normalised official main answer of each question; -1 where it has none: the
            most frequent answer stands in its place.
    """
    sizes = np.diff(given.starts)
    question = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    width = int(normal_of.max()) + 1
    pairs, counts = np.unique(question * width + normal_of[given.rows], return_counts=True)
    question, row = np.divmod(pairs, width)
    people = sizes[question]
    table = {
        (n, total): leave_one_out(n, total)
        for n, total in set(zip(counts.tolist(), people.tolist(), strict=True))
    }
    scores = np.asarray(
        [table[pair] for pair in zip(counts.tolist(), people.tolist(), strict=True)], np.float32
    )
    best = np.lexsort((row, -counts, row != main[question], question))
    distinct = np.bincount(question, minlength=len(sizes))
    return Ragged.of(distinct, row[best]), scores[best]
