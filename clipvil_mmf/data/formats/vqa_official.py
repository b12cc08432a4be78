"""VQA v2's own files: questions, and annotations with the answers of ten people, joined by id.

``{"data_subtype", "questions": [{"question_id", "question", "image_id"}, ...], ...}`` and
``{"annotations": [{"question_id", "answers": [{"answer"}, ...], "question_type", "answer_type",
"multiple_choice_answer"}, ...], ...}``; see https://visualqa.org/download.html. OK-VQA's
annotations, without ``multiple_choice_answer``, are read too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from reprlib import repr as short
from typing import Any

from clipvil_mmf.data.formats import rows
from clipvil_mmf.data.formats.json_stream import Progress, QuestionFile, stream_json
from clipvil_mmf.data.questions import AnnotationError, check_ids
from clipvil_mmf.data.table import QuestionTable, TableBuilder
from clipvil_mmf.data.vqa_normalize import most_common, normalize_answer

NAME = "official VQA v2 JSON"
_KINDS = ("question_type", "answer_type")
_COCO_DIGITS = 12
_TEST_DEV = "test-dev2015"
# Subset -> the folder of its images.
_FOLDERS = {name: name for name in ("train2014", "val2014", "test2015")} | {_TEST_DEV: "test2015"}


def recognises(file: QuestionFile) -> bool:
    """Whether the first elements have one of VQA's keys."""
    keys = {key for key, _ in file.elements}
    return not keys.isdisjoint(("questions", "data_subtype", "task_type", "annotations"))


def read(files: Sequence[Path], progress: Progress) -> QuestionTable:
    """Read a file of questions and, if it is given, the file of its annotations.

    Raises:
        AnnotationError: a bad row, or questions and annotations that do not fit together.
    """
    path, *annotations = files
    builder = TableBuilder(NAME, str(path))
    subset = None
    for key, value in stream_json(path, progress):
        if key == "data_subtype":
            subset = value
        elif key == "annotations":
            raise AnnotationError(
                f"{path} has the annotations; expected the file of the questions "
                "(v2_OpenEnded_mscoco_..._questions.json)"
            )
        elif key == "questions":
            where = f"{path}: question {len(builder.ids)}"
            builder.add_question(
                rows.question_id(value, where),
                rows.text(value, ("question",), where),
                rows.name(rows.field(value, ("image_id",), where), "image_id", where),
                value,
            )
    order = _annotate(builder, path, *annotations, progress) if annotations else None
    return builder.build(order, _image_paths(subset, path))


def is_test_dev(path: Path) -> bool:
    """Whether a file has the questions of test-dev alone."""
    for key, value in stream_json(path):
        if key == "data_subtype":
            return value == _TEST_DEV
    return False


def _image_paths(subset: Any, path: Path) -> Callable[[str], str]:
    """What makes an image's path of its id; without a subset the file only has such rows."""
    if subset is None:
        return rows.image_file
    if not isinstance(subset, str) or subset not in _FOLDERS:
        raise AnnotationError(
            f"{path} has the data_subtype {short(subset)}; expected one of {', '.join(_FOLDERS)}, "
            "which name the folder of the images"
        )
    folder = _FOLDERS[subset]

    def image_path(image: str) -> str:
        if not (image.isascii() and image.isdigit() and len(image) <= _COCO_DIGITS):
            raise AnnotationError(
                f"{path}: a question has the image_id {short(image)}; expected COCO's number of "
                f"the image, as the file has the data_subtype {subset!r}"
            )
        return f"{folder}/COCO_{folder}_{int(image):0{_COCO_DIGITS}d}.jpg"

    return image_path


def _annotate(builder: TableBuilder, questions: Path, path: Path, progress: Progress) -> list[int]:
    """Add the annotations; for each question the place of its own."""
    ids: list[Any] = []
    for key, value in stream_json(path, progress):
        if key != "annotations":
            continue
        where = f"{path}: annotation {len(ids)}"
        ids.append(rows.question_id(value, where))
        given = rows.said(rows.field(value, ("answers",), where), where)
        # OK-VQA has no main answer; the official evaluation does not ask for it.
        main = value.get("multiple_choice_answer")
        if main is None:
            main = most_common(given)
        else:
            main = normalize_answer(rows.string(main, "multiple_choice_answer", where))
        types = {kind: rows.name(rows.field(value, (kind,), where), kind, where) for kind in _KINDS}
        builder.add_annotators(given, main, types)
    check_ids(ids, str(path))
    places = {key: place for place, key in enumerate(ids)}
    lost = [key for key in builder.ids if key not in places]
    if lost or len(ids) != len(builder.ids):
        example = f", such as {short(lost[0])}" if lost else ""
        raise AnnotationError(
            f"{path} does not belong to {questions}: {len(lost)} of {len(builder.ids)} questions "
            f"have no annotation{example}, and there are {len(ids)} annotations. Fetch both files "
            "of one split"
        )
    return [places[key] for key in builder.ids]
