"""The questions of a split as Arrow tables: in memory, or mapped from the files of a store.

Nothing is decoded before it is asked for. Of a mapped table a process holds no copy: its pages
belong to the files, all processes share them, and a pickled table is the path of its folder (with
the description of the store, so that no other one is read there).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clipvil_mmf.data.columns import Columns, columns_of, flat_places
from clipvil_mmf.data.image_sizes import read_sizes
from clipvil_mmf.data.locking import StoreError
from clipvil_mmf.data.questions import AnnotationError, Question, check_ids

QUESTIONS, IMAGES, ANSWERS = "questions.arrow", "images.arrow", "answers.arrow"
DESCRIPTION = "store.json"
# What is no kind of question among the columns of the questions.
_PLAIN = ("id", "text", "image", "answers", "scores", "given")


@dataclass(frozen=True)
class SoftAnswers:
    """The answers of B questions, one entry for each pair of a question and an answer.

    Args:
        positions: (M,) int64, which of the B questions.
        rows: (M,) int32, which of ``QuestionTable.answer_texts``.
        scores: (M,) float32.
    """

    positions: np.ndarray
    rows: np.ndarray
    scores: np.ndarray


class Strings(Sequence[str]):
    """A column of strings, decoded one by one."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        array = _whole(column)
        _, offsets, data = array.buffers()
        self._offsets = np.frombuffer(offsets, dtype=np.int32) if len(array) else np.zeros(1)
        self._data = memoryview(data) if data is not None else memoryview(b"")
        self._count = len(array)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: Any) -> Any:
        if not 0 <= row < self._count:
            raise IndexError(row)
        return str(self._data[self._offsets[row] : self._offsets[row + 1]], "utf-8")


class Part:
    """The questions that stand in one store, or in memory.

    Args:
        questions: the columns ``id``, ``text``, ``image`` and, where they are known, ``answers``,
            ``scores``, ``given`` and kinds of questions.
        images: the column ``path``.
        answers: the column ``text``.
        description: ``format``, ``source`` and ``fields``.
        folder: of the store.
    """

    def __init__(
        self,
        questions: pa.Table,
        images: pa.Table,
        answers: pa.Table,
        description: dict[str, Any],
        folder: Path | None = None,
    ) -> None:
        self._tables = (questions, images, answers, description)
        self.description = description
        self.folder = folder
        ids = questions["id"]
        self.ids: np.ndarray | Strings
        self.ids = Strings(ids) if pa.types.is_string(ids.type) else _numpy(ids)
        self.texts = Strings(questions["text"])
        self.image_rows = _numpy(questions["image"])
        self.images = Strings(images["path"])
        self.answers = Strings(answers["text"])
        names = questions.column_names
        self.answer_starts, self.answer_rows = _lists(questions, "answers")
        _, self.scores = _lists(questions, "scores")
        self.given_starts, self.given_rows = _lists(questions, "given")
        self.kinds = {name: _whole(questions[name]) for name in names if name not in _PLAIN}

    def __len__(self) -> int:
        return len(self.image_rows)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.folder is None:
            return Part, self._tables
        return open_part, (self.folder, self.description)


def open_part(folder: Path, expected: dict[str, Any] | None = None) -> Part:
    """Map the files of a store.

    Args:
        folder: of the store.
        expected: its description, where another process has it open already.

    Raises:
        OSError: a file is missing or damaged.
        StoreError: the store has been made anew since the other process opened it.
    """
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    if expected is not None and description != expected:
        raise StoreError(
            f"The store {folder} was made anew during this run: its question files have changed. "
            "Start the run again"
        )
    tables = []
    for name in (QUESTIONS, IMAGES, ANSWERS):
        with pa.memory_map(str(folder / name)) as file:
            tables.append(pa.ipc.open_file(file).read_all())
    return Part(*tables, description, folder)


class QuestionTable:
    """The questions of a split, from one part or several, one after the other.

    Args:
        parts: at least one.

    Raises:
        AnnotationError: the parts do not fit together: an id occurs in two of them, only some have
            answers, or ids differ in type.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = list(parts)
        self._starts = _offsets(len(part) for part in parts)
        self._image_starts = _offsets(len(part.images) for part in parts)
        self._answer_starts = _offsets(len(part.answers) for part in parts)

    @classmethod
    def from_questions(cls, questions: Iterable[Question], source: str) -> QuestionTable:
        """A table of records, in memory.

        Raises:
            AnnotationError: bad ids, or answers for some questions only.
        """
        return cls.from_columns(columns_of(questions, source))

    @classmethod
    def from_columns(cls, columns: Columns) -> QuestionTable:
        """A table in memory."""
        return cls([Part(*arrow_tables(columns), describe(columns))])

    @classmethod
    def open(cls, folder: Path) -> QuestionTable:
        """A table that is mapped from a store (``store.py``)."""
        return cls([open_part(folder)])

    @classmethod
    def concatenate(cls, tables: Sequence[QuestionTable]) -> QuestionTable:
        """The questions of several tables, one after the other.

        Raises:
            AnnotationError: they do not fit together.
        """
        parts = [part for table in tables for part in table._parts]
        if len(parts) > 1:
            _check_parts(parts)
        return cls(parts)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def is_labelled(self) -> bool:
        """Whether the answers are known."""
        return self._parts[0].scores is not None

    def check_labelled(self) -> None:
        """Check that the answers are known, as training needs them.

        Raises:
            AnnotationError: they are not.
        """
        if not self.is_labelled:
            fields = ", ".join(self._parts[0].description["fields"])
            raise AnnotationError(
                f"{self.source}: its questions have no answers, which training needs. Their fields "
                f"are {fields}; answers are read from 'answer', 'answers' or 'label', those of "
                "official VQA v2 from a second file ({questions: FILE, annotations: FILE}), those "
                "of MMF's npy files from 'valid_answers', 'all_answers' or 'answers'"
            )

    @property
    def source(self) -> str:
        """The files that the questions come from, for messages."""
        return " + ".join(part.description["source"] for part in self._parts)

    @property
    def formats(self) -> list[str]:
        """The names of the recognised formats."""
        return list(dict.fromkeys(part.description["format"] for part in self._parts))

    @property
    def image_count(self) -> int:
        """The number of images, I."""
        return int(self._image_starts[-1])

    @property
    def image_rows(self) -> np.ndarray:
        """(N,) int64 the image of each question."""
        rows = [
            part.image_rows.astype(np.int64) + start
            for part, start in zip(self._parts, self._image_starts, strict=False)
        ]
        return np.concatenate(rows)

    @property
    def kinds(self) -> list[str]:
        """The names of what is known of each question's kind, see ``Columns.kinds``."""
        return [name for name in self._parts[0].kinds if all(name in p.kinds for p in self._parts)]

    def ids(self, rows: Iterable[int]) -> list[int] | list[str]:
        """The ids of these questions."""
        found = (part.ids[row] for part, row in self._places(rows))
        return [key if isinstance(key, str) else int(key) for key in found]  # type: ignore[return-value]

    def texts(self, rows: Iterable[int] | None = None) -> list[str]:
        """These questions, or all of them."""
        if rows is None:
            return [text for part in self._parts for text in part.texts]
        return [part.texts[row] for part, row in self._places(rows)]

    def image_path(self, row: int) -> str:
        """The path of an image, relative to the folder of the images."""
        part = int(np.searchsorted(self._image_starts, row, side="right")) - 1
        return self._parts[part].images[row - int(self._image_starts[part])]

    def images_of(self, rows: np.ndarray) -> np.ndarray:
        """(B,) int64 the images of these (B,) questions."""
        images = np.empty(len(rows), dtype=np.int64)
        for number, part, mine, local in self._split(rows):
            images[mine] = part.image_rows[local] + self._image_starts[number]
        return images

    @property
    def answer_texts(self) -> list[str]:
        """What ``SoftAnswers.rows`` count; an answer of two parts stands here twice."""
        return [text for part in self._parts for text in part.answers]

    def answers_of(self, rows: np.ndarray) -> SoftAnswers:
        """The answers of these (B,) questions of a labelled table, the main one of each first."""
        found = []
        for number, part, mine, local in self._split(rows):
            places = flat_places(part.answer_starts, local)
            sizes = part.answer_starts[local + 1] - part.answer_starts[local]
            positions = np.repeat(mine, sizes)
            answers = part.answer_rows[places] + np.int32(self._answer_starts[number])
            found.append((positions, answers, part.scores[places]))
        if len(found) == 1:
            return SoftAnswers(*found[0])
        return SoftAnswers(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))

    def question(self, row: int) -> Question:
        """One question as a record."""
        answers = None
        if self.is_labelled:
            soft = self.answers_of(np.asarray([row]))
            texts = self._answer_strings(soft.rows)
            answers = dict(zip(texts, soft.scores.astype(float).round(6).tolist(), strict=True))
        (part, local), *_ = self._places([row])
        image = part.images[part.image_rows[local]]
        return Question(self.ids([row])[0], part.texts[local], image, answers)

    def kind(self, name: str, row: int) -> str:
        """What is known of a question's kind; ``name`` is one of ``kinds``."""
        (part, local), *_ = self._places([row])
        return part.kinds[name][local].as_py()

    def given(self, row: int) -> list[str] | None:
        """What each of the people answered, as written; ``None`` where that is not known."""
        (part, local), *_ = self._places([row])
        if part.given_starts is None:
            return None
        run = slice(part.given_starts[local], part.given_starts[local + 1])
        return [part.answers[answer] for answer in part.given_rows[run]]

    def image_sizes(
        self, root: str | Path, progress: bool = False, upright: bool = False
    ) -> np.ndarray:
        """Read the sizes of the images from the heads of their files; a store keeps them.

        Args:
            root: the folder of the images.
            progress: show a bar.
            upright: of the pictures turned as their EXIF tags say.

        Returns:
            (I, 2) int32, (width, height); zeros for an image that cannot be read.
        """
        sizes = [
            read_sizes(part.images, Path(root), part.folder, progress, upright)
            for part in self._parts
        ]
        return np.concatenate(sizes)

    def _answer_strings(self, rows: np.ndarray) -> list[str]:
        found = []
        for row in rows:
            number = int(np.searchsorted(self._answer_starts, row, side="right")) - 1
            found.append(self._parts[number].answers[row - int(self._answer_starts[number])])
        return found

    def _places(self, rows: Iterable[int]) -> Iterator[tuple[Part, int]]:
        """The part of each row, and its row there."""
        if len(self._parts) == 1:
            part = self._parts[0]
            for row in rows:
                yield part, row
            return
        for row in rows:
            number = int(np.searchsorted(self._starts, row, side="right")) - 1
            yield self._parts[number], int(row - self._starts[number])

    def _split(self, rows: np.ndarray) -> Iterator[tuple[int, Part, np.ndarray, np.ndarray]]:
        """Number, part, the positions in ``rows`` that belong to it, and their rows there."""
        if len(self._parts) == 1:
            yield 0, self._parts[0], np.arange(len(rows)), rows
            return
        numbers = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(numbers):
            mine = np.flatnonzero(numbers == number)
            yield number, self._parts[number], mine, rows[mine] - self._starts[number]


def arrow_tables(columns: Columns) -> tuple[pa.Table, pa.Table, pa.Table]:
    """The tables of a part: questions, images, answers; each in one chunk."""
    fields: dict[str, pa.Array] = {
        "id": pa.array(columns.ids, pa.string() if _has_strings(columns.ids) else pa.int64()),
        "text": pa.array(columns.texts, pa.string()),
        "image": pa.array(columns.image_rows, pa.int32()),
    }
    if columns.answers is not None:
        starts = pa.array(columns.answers.starts)
        fields["answers"] = pa.ListArray.from_arrays(starts, pa.array(columns.answers.rows))
        fields["scores"] = pa.ListArray.from_arrays(starts, pa.array(columns.scores))
    if columns.given is not None:
        starts, rows = pa.array(columns.given.starts), pa.array(columns.given.rows)
        fields["given"] = pa.ListArray.from_arrays(starts, rows)
    for name, values in columns.kinds.items():
        fields[name] = pa.array(values, pa.string()).dictionary_encode()
    return (
        pa.table(fields),
        pa.table({"path": pa.array(columns.images, pa.string())}),
        pa.table({"text": pa.array(columns.answer_texts, pa.string())}),
    )


def describe(columns: Columns) -> dict[str, Any]:
    """What is known of the columns as a whole."""
    return {
        "format": columns.format,
        "source": columns.source,
        "questions": len(columns.ids),
        "images": len(columns.images),
        "answers": len(columns.answer_texts),
        "fields": columns.fields,
    }


def _has_strings(ids: Sequence[int | str]) -> bool:
    return isinstance(ids[0], str)


def _check_parts(parts: Sequence[Part]) -> None:
    first = parts[0]
    for part in parts[1:]:
        sources = f"{first.description['source']} and {part.description['source']}"
        if (part.scores is None) != (first.scores is None):
            raise AnnotationError(
                f"{sources}: one has answers, the other has not; expected all or none. Do not put "
                "them into one split"
            )
        if isinstance(part.ids, Strings) != isinstance(first.ids, Strings):
            raise AnnotationError(
                f"{sources}: one has integer ids, the other strings; expected one type. "
                "Leaderboards tell 1 from '1': write all ids alike"
            )
    source = " + ".join(part.description["source"] for part in parts)
    if isinstance(first.ids, Strings):
        check_ids((key for part in parts for key in part.ids), source)
        return
    ids, counts = np.unique(np.concatenate([part.ids for part in parts]), return_counts=True)
    if (counts > 1).any():
        raise AnnotationError(
            f"{source}: question id {ids[counts > 1][0]} occurs twice; expected unique ids. Do not "
            "put overlapping files into one split"
        )


def _offsets(sizes: Iterable[int]) -> np.ndarray:
    return np.cumsum([0, *sizes])


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """The one chunk that a part's columns have; mapped ones must not be copied."""
    (chunk,) = column.chunks or [pa.array([], column.type)]
    return chunk


def _numpy(column: pa.ChunkedArray) -> np.ndarray:
    return _whole(column).to_numpy(zero_copy_only=True)


def _lists(table: pa.Table, name: str) -> tuple[Any, Any]:
    """Offsets and entries of a column of lists; (None, None) if there is none."""
    if name not in table.column_names:
        return None, None
    lists = _whole(table[name])
    return lists.offsets.to_numpy(), lists.values.to_numpy()
