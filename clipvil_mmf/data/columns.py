"""What the readers of the formats hand on: a split's questions, column by column."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from clipvil_mmf.data.questions import AnnotationError, Question, check_ids

_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff")
_COCO = re.compile(r"COCO_(train2014|val2014|test2015)_\d{12}\.")


@dataclass
class Ragged:
    """A list of row numbers for each question, in one flat array.

    Args:
        starts: (N + 1,) int32, where each question's list begins in ``rows``.
        rows: (M,) int32 numbers into ``Columns.answer_texts``.
    """

    starts: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, sizes: Sequence[int] | array, rows: Sequence[int] | array) -> Ragged:
        """Make it of the lengths of the lists and all their entries."""
        starts = np.zeros(len(sizes) + 1, dtype=np.int32)
        np.cumsum(np.asarray(sizes, dtype=np.int32), out=starts[1:])
        return cls(starts, np.asarray(rows, dtype=np.int32))

    def take(self, order: np.ndarray) -> Ragged:
        """The lists of these questions, in this order."""
        sizes = np.diff(self.starts)[order]
        return Ragged.of(sizes, self.rows[flat_places(self.starts, order)])


@dataclass
class Columns:
    """The questions of one split; N of them on I images.

    Args:
        format: the name of the recognised format.
        source: the files, for messages.
        ids: N, all int or all str.
        texts: N.
        image_rows: (N,) int32 numbers into ``images``.
        images: I paths, relative to the folder of the images.
        answer_texts: the split's own answers, each once.
        answers: the answers of each question, the main one first; ``None`` if they are not known.
        scores: (M,) float32, the soft score of each of them.
        given: what each of the people said, as written; VQA only.
        fields: the names of a row's fields, for messages about what it lacks.
        kinds: what scoring by type needs, N strings each: ``question_type`` and ``answer_type``
            (VQA), ``structural``, ``semantic`` and ``detailed`` (GQA).
    """

    format: str
    source: str
    ids: list[int] | list[str]
    texts: list[str]
    image_rows: np.ndarray
    images: list[str]
    answer_texts: list[str] = field(default_factory=list)
    answers: Ragged | None = None
    scores: np.ndarray | None = None
    given: Ragged | None = None
    kinds: dict[str, list[str]] = field(default_factory=dict)
    fields: list[str] = field(default_factory=list)

    def questions(self) -> Iterator[Question]:
        """The records."""
        for i, (key, text) in enumerate(zip(self.ids, self.texts, strict=True)):
            answers = None
            if self.answers is not None and self.scores is not None:
                run = slice(self.answers.starts[i], self.answers.starts[i + 1])
                scores = self.scores[run].astype(np.float64).round(6).tolist()
                words = [self.answer_texts[row] for row in self.answers.rows[run]]
                answers = dict(zip(words, scores, strict=True))
            yield Question(key, text, self.images[self.image_rows[i]], answers)


class ColumnsBuilder:
    """Collects the columns of one split, question by question.

    Args:
        format_name: the recognised format.
        source: the files, for messages.
    """

    def __init__(self, format_name: str, source: str) -> None:
        self._format = format_name
        self._source = source
        self._ids: list[int | str] = []
        self._texts: list[str] = []
        self._images: dict[str, int] = {}
        self._image_rows = array("i")
        self._answers: dict[str, int] = {}
        self._sizes, self._rows, self._scores = array("i"), array("i"), array("f")
        self._kinds: dict[str, list[str]] = {}
        self._fields: list[str] = []

    def __len__(self) -> int:
        return len(self._ids)

    def add(
        self,
        question_id: int | str,
        text: str,
        image: str,
        answers: Mapping[str, float] | None = None,
        kinds: Mapping[str, str] | None = None,
        fields: Iterable[str] = (),
    ) -> None:
        """Add one question; arguments are those of ``Question`` and ``Columns``."""
        if not self._ids:
            self._fields = [str(name) for name in fields]
        self._ids.append(question_id)
        self._texts.append(text)
        self._image_rows.append(self._images.setdefault(image, len(self._images)))
        if answers is not None:
            self._sizes.append(len(answers))
            # The main answer first: a stable sort, as most labels begin with it anyway.
            for answer, score in sorted(answers.items(), key=lambda pair: -pair[1]):
                self._rows.append(self._answers.setdefault(answer, len(self._answers)))
                self._scores.append(score)
        for name, kind in (kinds or {}).items():
            column = self._kinds.setdefault(name, [])
            column += [""] * (len(self._ids) - 1 - len(column))
            column.append(kind)

    def build(self) -> Columns:
        """Check the ids and hand over the columns.

        Raises:
            AnnotationError: bad ids (``check_ids``), or only some questions have answers.
        """
        check_ids(self._ids, self._source)
        labelled = len(self._sizes)
        if 0 < labelled < len(self._ids):
            raise AnnotationError(
                f"{self._source}: {labelled} of {len(self._ids)} questions have answers; expected "
                "all or none. Split the file"
            )
        for column in self._kinds.values():
            column += [""] * (len(self._ids) - len(column))
        return Columns(
            self._format,
            self._source,
            self._ids,  # type: ignore[arg-type]
            self._texts,
            np.asarray(self._image_rows, dtype=np.int32),
            list(self._images),
            list(self._answers),
            Ragged.of(self._sizes, self._rows) if labelled else None,
            np.asarray(self._scores, dtype=np.float32) if labelled else None,
            kinds=self._kinds,
            fields=self._fields,
        )


def columns_of(questions: Iterable[Question], source: str) -> Columns:
    """Columns of records.

    Raises:
        AnnotationError: see ``ColumnsBuilder.build``.
    """
    builder = ColumnsBuilder("records", source)
    for question in questions:
        given = (question.question_id, question.text, question.image, question.answers)
        builder.add(*given, fields=Question.__slots__)
    return builder.build()


def flat_places(starts: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Every place of the chosen questions' lists in a flat array, list after list.

    Args:
        starts: (N + 1,) where each list begins.
        chosen: (B,) questions.

    Returns:
        (M,) int64.
    """
    begin = starts[chosen].astype(np.int64)
    sizes = starts[chosen + 1] - begin
    return np.arange(sizes.sum()) + np.repeat(begin - np.cumsum(sizes) + sizes, sizes)


def image_file(name: str) -> str:
    """The path of an image in its folder: COCO's lie in a folder for each of its sets.

    Args:
        name: of the image; without the ending of an image it is that of a JPEG file.
    """
    file = name if name.lower().endswith(_ENDINGS) else f"{name}.jpg"
    coco = _COCO.match(file)
    return f"{coco[1]}/{file}" if coco else file
