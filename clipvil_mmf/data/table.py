"""The questions of a split as one Arrow table: what formats write, and everything else reads.

One row a question. No field is null; a field that is unknown is absent from the whole table.

=================  ====================================  =======================================
field              type                                  meaning
=================  ====================================  =======================================
``id``             int64, or string                      as the file gives it; unique
``text``           string                                the question
``image``          dictionary<int32, string>             path of its image in their folder; the
                                                         dictionary lists the images. Where a
                                                         question has k images, a list of k of them
``answers``        list<struct<text: dictionary<int32,   right answers and their scores in
(labelled splits)  string>, score: float32>>             [0, 1], the main one first
``given``          list<dictionary<int32, string>>       what each annotator answered, as
(VQA's own files)                                        written; where known, it is scored by
``KINDS``          dictionary<int32, string>             names that scores are grouped by; ''
(where known)                                            where a question has none
``choices``        list<dictionary<int32, string>>       the answers to choose from
(A-OKVQA)
``correct``        dictionary<int32, string>             the right one of them, where known
=================  ====================================  =======================================

The schema's metadata has, as JSON under ``clipvil``: ``format`` and ``source``, for messages, and
``fields``, the names of the first row's fields.

Nothing is decoded before it is asked for. A table may be mapped from the file of a store
(``store.py``): then no process holds a copy, and a pickled table is the path of that file.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from clipvil_mmf.data.annotators import soft_labels
from clipvil_mmf.data.image_sizes import read_sizes
from clipvil_mmf.data.locking import StoreError
from clipvil_mmf.data.questions import AnnotationError, Question, check_ids

KINDS = (
    *("answer_type", "question_type", "structural", "semantic"),
    *("balanced", "answerable", "difficult"),
    *("label", "sentence", "source"),
)
_NAME = pa.dictionary(pa.int32(), pa.string())
_NAMES = pa.list_(pa.field("item", _NAME, nullable=False))
_ANSWER = pa.struct(
    [pa.field("text", _NAME, nullable=False), pa.field("score", pa.float32(), nullable=False)]
)
FIELDS: dict[str, tuple[pa.DataType, ...]] = {
    "id": (pa.int64(), pa.string()),
    "text": (pa.string(),),
    "image": (_NAME,),
    "answers": (pa.list_(pa.field("item", _ANSWER, nullable=False)),),
    "given": (_NAMES,),
    "choices": (_NAMES,),
    "correct": (_NAME,),
    **dict.fromkeys(KINDS, (_NAME,)),
}
_METADATA = b"clipvil"
_BLOCK = 1 << 16


class SoftAnswers(NamedTuple):
    """The answers of B questions, one entry for each pair of a question and an answer."""

    positions: np.ndarray  # (M,) int64, which of the B questions
    rows: np.ndarray  # (M,) int32, which of `QuestionTable.answer_texts`
    scores: np.ndarray  # (M,) float32


class Part:
    """The questions in one ``file`` of a store, or in memory; its columns have one chunk each."""

    def __init__(self, table: pa.Table, file: Path | None = None) -> None:
        self.table = table
        self.file = file
        self.description: dict[str, Any] = json.loads(table.schema.metadata[_METADATA])
        image, self.images_per_sample = _chunk(table, "image"), 1
        if pa.types.is_fixed_size_list(image.type):
            image, self.images_per_sample = image.flatten(), image.type.list_size
        self.images, self.image_rows = image.dictionary, image.indices.to_numpy()
        if self.images_per_sample > 1:
            self.image_rows = self.image_rows.reshape(-1, self.images_per_sample)
        self.is_labelled = "answers" in table.column_names
        self.answers = pa.array([], pa.string())
        if self.is_labelled:
            lists = _chunk(table, "answers")
            texts, scores = lists.values.flatten()
            self.answer_starts = lists.offsets.to_numpy()
            self.answers, self.answer_rows = texts.dictionary, texts.indices.to_numpy()
            self.scores = scores.to_numpy()

    def __len__(self) -> int:
        return self.table.num_rows

    def __reduce__(self) -> tuple[Any, ...]:
        return (Part, (self.table,)) if self.file is None else (open_part, (self.file,))


def open_part(file: Path) -> Part:
    """Map a file of a store that another process has checked; ``StoreError``: it is gone."""
    try:
        return Part(map_table(file), file)
    except FileNotFoundError as e:
        raise StoreError(
            f"The store {file.parent} was made anew during this run: its question files have "
            "changed. Start the run again"
        ) from e


def map_table(file: Path) -> pa.Table:
    """The table of an Arrow file, of which nothing is copied."""
    with pa.memory_map(str(file)) as mapped:
        return pa.ipc.open_file(mapped).read_all()


def check_table(table: pa.Table) -> None:
    """Raise ``ValueError`` (or its ``ArrowInvalid``) unless a table keeps to the schema above."""
    table.validate(full=True)  # offsets, places in dictionaries, UTF-8
    missing = {"id", "text", "image"} - set(table.column_names)
    wrong = [f for f in table.schema if f.nullable or _bare(f) not in FIELDS.get(f.name, ())]
    broken = [
        name
        for name, column in zip(table.column_names, table.columns, strict=True)
        if column.null_count or column.num_chunks != 1
    ]
    if missing or wrong or broken or _METADATA not in (table.schema.metadata or {}):
        raise ValueError(f"fields missing: {missing}, of other types: {wrong}, broken: {broken}")


def _bare(field: pa.Field) -> pa.DataType:
    """The type of a field, of a list of so many images that of one."""
    several = field.name == "image" and pa.types.is_fixed_size_list(field.type)
    return field.type.value_type if several else field.type


class QuestionTable(Sequence[Question]):
    """The questions of a split, from one part or several, one after the other.

    Attributes:
        parts: at least one.
        is_labelled: whether the answers are known.
        images_per_sample: k, how many images a question has.
        image_rows: (N,) int32 the image of each question; (N, k) where k is not 1.

    Raises:
        AnnotationError: the parts do not fit together: an id occurs in two of them, only some have
            answers, or ids differ in type, or questions in how many images they have.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)
        if len(parts) > 1:
            self._check_parts()
        self.is_labelled = parts[0].is_labelled
        self.images_per_sample = parts[0].images_per_sample
        self._starts = np.cumsum([0, *map(len, parts)])
        images = np.cumsum([0, *(len(part.images) for part in parts)])
        self._answer_starts = np.cumsum([0, *(len(part.answers) for part in parts)])
        self._ids, self._texts = (
            pa.chunked_array([_chunk(part.table, name) for part in parts])
            for name in ("id", "text")
        )
        self._images, self._answers = (
            pa.chunked_array([getattr(part, name) for part in parts], pa.string())
            for name in ("images", "answers")
        )
        rows = [part.image_rows + np.int32(n) for part, n in zip(parts, images, strict=False)]
        self.image_rows = np.concatenate(rows) if len(parts) > 1 else parts[0].image_rows

    def __reduce__(self) -> tuple[Any, ...]:
        return QuestionTable, (self.parts,)

    @classmethod
    def from_questions(
        cls,
        questions: Iterable[Question],
        source: str,
        kinds: Callable[[Question], Mapping[str, str]] | None = None,
    ) -> QuestionTable:
        """A table of records, in memory; raises what ``TableBuilder.build`` does.

        Args:
            questions: the records.
            source: names them in messages.
            kinds: gives those of ``KINDS`` that a record has.
        """
        builder = TableBuilder("records", source)
        for question in questions:
            row = [getattr(question, name) for name in Question.__slots__]
            named = None if kinds is None else kinds(question)
            builder.add(*row, kinds=named, fields=Question.__slots__)
        return builder.build()

    @classmethod
    def concatenate(cls, tables: Sequence[QuestionTable]) -> QuestionTable:
        """The questions of several tables, one after the other."""
        return cls([part for table in tables for part in table.parts])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, row: Any) -> Any:
        """One question as a record."""
        if not 0 <= row < len(self):
            raise IndexError(row)
        (question_id,), (text,) = self.ids([row]), self.texts([row])
        answers = None
        if self.is_labelled:
            soft = self.answers_of(np.asarray([row]))
            answers = _label(_decoded(self._answers, soft.rows), soft.scores)
        images = self.image_rows[row]
        image = self.image_path(int(images)) if images.ndim == 0 else self.image_paths(images)
        return Question(question_id, text, image, answers)

    def __iter__(self) -> Iterator[Question]:
        """All questions as records."""
        labels: Iterable[Any] = self.labels() if self.is_labelled else [None] * len(self)
        images = self._images.to_pylist()
        paths = (
            images[row] if isinstance(row, int) else tuple(images[one] for one in row)
            for row in self.image_rows.tolist()
        )
        return map(Question, self.ids(), self.texts(), paths, labels)

    def check_labelled(self) -> None:
        """Raise ``AnnotationError`` unless the answers are known, as training needs them."""
        if not self.is_labelled:
            fields = ", ".join(self.parts[0].description["fields"])
            raise AnnotationError(
                f"{self.source}: its questions have no answers, which training needs. Their fields "
                f"are {fields}; answers are read from 'answer', 'answers' or 'label', those of "
                "official VQA v2 from a second file ({questions: FILE, annotations: FILE}), those "
                "of MMF's npy files from 'valid_answers', 'all_answers' or 'answers'"
            )

    @property
    def source(self) -> str:
        """The files that the questions come from, for messages."""
        return " + ".join(part.description["source"] for part in self.parts)

    @property
    def formats(self) -> list[str]:
        """The names of the recognised formats."""
        return list(dict.fromkeys(part.description["format"] for part in self.parts))

    def ids(self, rows: Iterable[int] | None = None) -> list[Any]:
        """The ids of these questions, or of all."""
        return _decoded(self._ids, rows)

    def texts(self, rows: Iterable[int] | None = None) -> list[str]:
        """These questions, or all of them."""
        return _decoded(self._texts, rows)

    @property
    def image_count(self) -> int:
        """The number of images, I."""
        return len(self._images)

    def image_path(self, row: int) -> str:
        """The path of an image, relative to the folder of the images."""
        return self._images[row].as_py()

    def image_paths(self, rows: Iterable[int]) -> tuple[str, ...]:
        """The paths of several images."""
        return tuple(self.image_path(int(row)) for row in rows)

    @property
    def left_out(self) -> dict[str, int]:
        """Why rows of the files are left out of the table -> how many."""
        counts: Counter[str] = Counter()
        for part in self.parts:
            counts.update(part.description.get("left_out", {}))
        return dict(counts)

    @property
    def answer_texts(self) -> list[str]:
        """What ``SoftAnswers.rows`` count; an answer of two parts stands here twice."""
        return self._answers.to_pylist()

    def questions(self) -> Iterator[Question]:
        """The records, one by one."""
        return iter(self)

    def answers_of(self, rows: np.ndarray) -> SoftAnswers:
        """The answers of these (B,) questions of a labelled table, the main one of each first."""
        found = []
        numbers = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(numbers):
            part, mine = self.parts[number], np.flatnonzero(numbers == number)
            chosen = rows[mine] - self._starts[number]
            begin = part.answer_starts[chosen].astype(np.int64)
            sizes = part.answer_starts[chosen + 1] - begin
            places = np.arange(sizes.sum()) + np.repeat(begin - np.cumsum(sizes) + sizes, sizes)
            answers = part.answer_rows[places] + np.int32(self._answer_starts[number])
            found.append((np.repeat(mine, sizes), answers, part.scores[places]))
        return SoftAnswers(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))

    def labels(self) -> Iterator[dict[str, float]]:
        """Answer -> score of each question of a labelled table."""
        for part in self.parts:
            texts, scores = part.answers.to_pylist(), part.scores
            rows = part.answer_rows.tolist()
            for begin, end in pairwise(part.answer_starts.tolist()):
                yield _label([texts[row] for row in rows[begin:end]], scores[begin:end])

    def annotators(self) -> Iterator[tuple[str, ...]] | None:
        """What the annotators answered to each question; ``None`` where that is unknown."""
        return self._lists("given")

    def choices(self) -> Iterator[tuple[str, ...]] | None:
        """What there is to choose from for each question; ``None`` where that is unknown."""
        return self._lists("choices")

    def correct_choices(self) -> list[str] | None:
        """The right one of each question's choices; ``None`` where that is unknown."""
        if not self._has("correct"):
            return None
        return [choice for part in self.parts for choice in part.table["correct"].to_pylist()]

    def _has(self, name: str) -> bool:
        return all(name in part.table.column_names for part in self.parts)

    def _lists(self, name: str) -> Iterator[tuple[str, ...]] | None:
        if not self._has(name):
            return None
        columns = [_chunk(part.table, name) for part in self.parts]
        return (tuple(texts) for column in columns for texts in column.to_pylist())

    def kinds(self) -> dict[str, list[str]]:
        """Those of ``KINDS`` that are known, a name for each question ('' where it has none)."""
        return {
            name: [kind for part in self.parts for kind in _names(_chunk(part.table, name))]
            for name in KINDS
            if self._has(name)
        }

    def has_kind(self, kind: str, names: Collection[str]) -> np.ndarray:
        """Which questions have one of these names as their ``kind``, one of ``KINDS``.

        Returns:
            (N,) bool.

        Raises:
            AnnotationError: no question has one of the names, or the kind is not known.
        """
        found, seen = [], set()
        for part in self.parts:
            if kind not in part.table.column_names:
                raise AnnotationError(
                    f"{part.description['source']} ({part.description['format']}) does not say the "
                    f"{kind} of its questions"
                )
            column = _chunk(part.table, kind)
            known = column.dictionary.to_pylist()
            seen.update(known)
            found.append(np.isin(known, list(names))[column.indices.to_numpy()])
        missing = [name for name in names if name not in seen]
        if missing:
            raise AnnotationError(
                f"{self.source}: the {kind} {missing[0]!r} is unknown; expected some of "
                f"{', '.join(sorted(seen))}"
            )
        return np.concatenate(found)

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
        sizes = []
        for part in self.parts:
            store = part.file and part.file.parent
            paths = part.images.to_pylist()
            sizes.append(read_sizes(paths, Path(root), store, progress, upright))
        return np.concatenate(sizes)

    def _check_parts(self) -> None:
        first, *others = self.parts
        for part in others:
            if part.images_per_sample != first.images_per_sample:
                raise AnnotationError(
                    f"{first.description['source']} and {part.description['source']}: questions of "
                    f"one have {first.images_per_sample} images, of the other "
                    f"{part.images_per_sample}; expected as many. Do not put them into one split"
                )
            if part.is_labelled != first.is_labelled:
                raise AnnotationError(
                    f"{first.description['source']} and {part.description['source']}: one has "
                    "answers, the other has not; expected all or none. Do not put them into one "
                    "split"
                )
        check_ids(_Decoded([_chunk(part.table, "id") for part in self.parts]), self.source)


class TableBuilder:
    """Makes the table of a split, question by question; ``source`` names its files in messages."""

    def __init__(self, format_name: str, source: str) -> None:
        self._description: dict[str, Any] = {"format": format_name, "source": source, "fields": []}
        self.ids, self._texts = _Ids(), _Strings()
        self._images, self._answers, self._given = _Names(), _Names(), _Names()
        self._scores, self._sizes, self._people = array("f"), array("i"), array("i")
        self._mains: list[str] = []
        self._kinds: dict[str, _Names] = {}
        self._labels = 0
        self._choices, self._correct = _Names(), _Names()
        self._choice_counts = array("i")
        self._images_per_sample = 1
        # The first question that has an answer where those before it have none, or the reverse.
        self._odd: int | None = None

    def leave_out(self, reason: str) -> None:
        """Count a row of the file that is not a question of the table."""
        counts = self._description.setdefault("left_out", {})
        counts[reason] = counts.get(reason, 0) + 1

    def add(
        self,
        question_id: int | str,
        text: str,
        image: str | tuple[str, ...],
        answers: Mapping[str, float] | None = None,
        kinds: Mapping[str, str] | None = None,
        fields: Iterable[str] = (),
    ) -> None:
        """Add one question and its label; the main answer is the first of the highest score.

        Args:
            question_id: an integer or a string.
            text: the question.
            image: path of its image; of each in order, where a question has several.
            answers: answer -> score in [0, 1]; ``None`` where that is unknown.
            kinds: those of ``KINDS`` that it has.
            fields: the names of the row's fields, for a message about what it lacks.
        """
        self.add_question(question_id, text, image, fields)
        if answers is not None:
            best = sorted(answers, key=answers.__getitem__, reverse=True)
            self._answers.add(best)
            self._scores.extend([answers[answer] for answer in best])
            self._sizes.append(len(best))
        self._add_kinds(kinds or {})

    def add_question(
        self,
        question_id: int | str,
        text: str,
        image: str | tuple[str, ...],
        fields: Iterable[str] = (),
    ) -> None:
        """Add a question whose label ``add_annotators`` adds, if it has one; see ``add``."""
        if not len(self.ids):
            self._description["fields"] = [str(name) for name in fields]
        elif self._odd is None and len(self._sizes or self._people) not in (0, len(self.ids)):
            self._odd = len(self.ids) - 1
        self.ids.append(question_id)
        self._texts.append(text)
        images = (image,) if isinstance(image, str) else image
        self._images_per_sample = len(images)
        self._images.add(images)

    def add_annotators(self, given: Sequence[str], main: str, kinds: Mapping[str, str]) -> None:
        """Add the label of a question, not of the next one if ``build`` gets an ``order``.

        Args:
            given: what each annotator answered, as written.
            main: the main answer, normalised.
            kinds: see ``add``.
        """
        self._given.add(given)
        self._people.append(len(given))
        self._mains.append(main)
        self._add_kinds(kinds)

    def add_choices(self, choices: Sequence[str], correct: str | None) -> None:
        """Add what there is to choose from to the question that was added last.

        Args:
            choices: all of them.
            correct: the right one; ``None`` where that is unknown.
        """
        self._choices.add(choices)
        self._choice_counts.append(len(choices))
        if correct is not None:
            self._correct.add((correct,))

    def _add_kinds(self, kinds: Mapping[str, str]) -> None:
        for name, kind in kinds.items():
            if name not in self._kinds:
                if name not in KINDS:
                    raise ValueError(f"kind {name!r}: expected one of {', '.join(KINDS)}")
                self._kinds[name] = _Names()
            self._kinds[name].fill(self._labels)
            self._kinds[name].add((kind,))
        self._labels += 1

    def build(
        self, order: Sequence[int] | None = None, image_path: Callable[[str], str] = str
    ) -> QuestionTable:
        """Check the questions and hand over their table.

        Args:
            order: for each question which label is its own; by default they come alike.
            image_path: makes an image's path of what it was added as.

        Raises:
            AnnotationError: bad ids (``check_ids``), or only some questions have answers.
        """
        source = self._description["source"]
        check_ids(self.ids, source)
        for counted in (self._sizes, self._people):
            if 0 < len(counted) < len(self.ids):
                odd = len(self.ids) - 1 if self._odd is None else self._odd
                raise AnnotationError(
                    f"{source}: {len(counted)} of {len(self.ids)} questions have answers; expected "
                    f"all or none. Question {odd} is the first that differs from those before it: "
                    "correct it, or split the file"
                )
        if 0 < len(self._correct) < len(self.ids):
            raise AnnotationError(
                f"{source}: {len(self._correct)} of {len(self.ids)} questions have a right choice; "
                "expected all or none. Split the file"
            )
        label: dict[str, pa.Array] = {}
        sizes, answers, scores = self._sizes, self._answers.column(), self._scores
        if self._people:
            sizes, answers, scores = soft_labels(
                self._given.column(), np.asarray(self._people), self._mains
            )
        if len(sizes):
            values = [answers, pa.array(np.asarray(scores))]
            structs = pa.StructArray.from_arrays(values, fields=[*_ANSWER])
            label["answers"] = _lists(sizes, structs, FIELDS["answers"][0])
        if self._people:
            label["given"] = _lists(self._people, self._given.column(), FIELDS["given"][0])
        for name, names in self._kinds.items():
            names.fill(self._labels)
            label[name] = names.column()
        if order is not None and any(row != place for row, place in enumerate(order)):
            label = {name: column.take(pa.array(order)) for name, column in label.items()}
        image = self._images.column(image_path)
        if self._images_per_sample > 1:
            item = pa.field("item", _NAME, nullable=False)
            kind = pa.list_(item, self._images_per_sample)
            image = pa.FixedSizeListArray.from_arrays(image, type=kind)
        columns = {
            "id": self.ids.column(),
            "text": self._texts.column(),
            "image": image,
            **label,
        }
        if self._choice_counts:
            choices = self._choices.column()
            columns["choices"] = _lists(self._choice_counts, choices, FIELDS["choices"][0])
        if len(self._correct):
            columns["correct"] = self._correct.column()
        schema = pa.schema(
            [pa.field(name, column.type, nullable=False) for name, column in columns.items()],
            {_METADATA: json.dumps(self._description)},
        )
        return QuestionTable([Part(pa.Table.from_arrays([*columns.values()], schema=schema))])


class _Strings:
    """A column of strings, without an object for each of them."""

    def __init__(self) -> None:
        self._data, self._ends = bytearray(), array("i", [0])

    def append(self, text: str) -> None:
        self._data += text.encode()
        self._ends.append(len(self._data))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[str]:
        return (self._data[begin:end].decode() for begin, end in pairwise(self._ends))

    def column(self) -> pa.StringArray:
        ends, data = pa.py_buffer(self._ends), pa.py_buffer(self._data)
        return pa.StringArray.from_buffers(len(self), ends, data)


class _Ids:
    """A column of ids as they are given; ``check_ids`` has to say that they are of one type."""

    def __init__(self) -> None:
        self._strings, self._others = _Strings(), []

    def append(self, key: Any) -> None:
        if self._others or not isinstance(key, str):
            if not self._others:
                self._others = [*self._strings]
            self._others.append(key)
        else:
            self._strings.append(key)

    def __len__(self) -> int:
        return len(self._others) or len(self._strings)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._others or self._strings)

    def column(self) -> pa.Array:
        return pa.array(self._others, pa.int64()) if self._others else self._strings.column()


class _Decoded:
    """The values of columns, one after the other, decoded in small numbers."""

    def __init__(self, columns: Sequence[pa.Array]) -> None:
        self._columns = columns

    def __iter__(self) -> Iterator[Any]:
        for column in self._columns:
            for begin in range(0, len(column), _BLOCK):
                yield from column.slice(begin, _BLOCK).to_pylist()


class _Names:
    """A column of strings, each kept once."""

    def __init__(self) -> None:
        self._rows = array("i")
        self._numbers: defaultdict[str, int] = defaultdict()
        self._numbers.default_factory = self._numbers.__len__  # a new name's number

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, names: Iterable[str]) -> None:
        self._rows.extend(map(self._numbers.__getitem__, names))

    def fill(self, count: int) -> None:
        while len(self._rows) < count:
            self.add(("",))

    def column(self, rename: Callable[[str], str] = str) -> pa.DictionaryArray:
        names = pa.array([rename(name) for name in self._numbers], pa.string())
        return pa.DictionaryArray.from_arrays(np.asarray(self._rows, dtype=np.int32), names)


def _lists(sizes: Any, values: pa.Array, kind: pa.DataType) -> pa.ListArray:
    offsets = np.zeros(len(sizes) + 1, dtype=np.int32)
    np.cumsum(np.asarray(sizes), out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=kind)


def _label(texts: Sequence[str], scores: np.ndarray) -> dict[str, float]:
    return dict(zip(texts, scores.astype(float).round(6).tolist(), strict=True))


def _names(column: pa.DictionaryArray) -> Iterator[str]:
    """The names of a column, each of which is decoded once."""
    return map(column.dictionary.to_pylist().__getitem__, column.indices.to_numpy().tolist())


def _decoded(column: pa.ChunkedArray, rows: Iterable[int] | None) -> list[Any]:
    return column.to_pylist() if rows is None else [column[int(row)].as_py() for row in rows]


def _chunk(table: pa.Table, name: str) -> pa.Array:
    """The one chunk of a part's column; a mapped one must not be copied."""
    (chunk,) = table[name].chunks
    return chunk
