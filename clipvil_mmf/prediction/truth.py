"""What predictions are scored against: the answers of a split's question files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from clipvil_mmf.data.columns import Columns, Ragged, columns_of
from clipvil_mmf.data.formats import gqa_official, read_columns, recognise, vqa_official
from clipvil_mmf.data.questions import AnnotationError, Question

# The three ways to score an answer.
OFFICIAL_VQA = "official VQA accuracy, ten annotators"
EXACT = "exact match (GQA)"
LABEL = "score of the answer in the label"

OPENNESS = "binary / open"
# Name in the files -> kind of group.
_KINDS = {
    "answer_type": "answer type",
    "question_type": "question type",
    "structural": "structural type",
    "semantic": "semantic type",
}
_QUERY = "query"


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known about the right answer to one question.

    Args:
        question_id: as the file gives it.
        answers: the answer of each annotator as written, where ``OFFICIAL_VQA`` is the rule;
            answer -> score in (0, 1] elsewhere.
        groups: what the question is counted under: kind of group -> name.
    """

    question_id: int | str
    answers: tuple[str, ...] | Mapping[str, float]
    groups: Mapping[str, str]


@dataclass(frozen=True)
class Truths:
    """The ground truth of a split, a question at a time.

    Args:
        columns: the questions with their answers.
        rule: how an answer is scored: ``OFFICIAL_VQA``, ``EXACT`` or ``LABEL``.
        unbalanced: ids of GQA questions outside the balanced split: its official evaluation scores
            only balanced ones.
    """

    columns: Columns
    rule: str
    unbalanced: frozenset[int | str] = field(default=frozenset())

    def __iter__(self) -> Iterator[Truth]:
        """The questions that count."""
        kinds = {name: values for name, values in self.columns.kinds.items() if name in _KINDS}
        given = self.columns.given
        targets = self._labels() if given is None else self._annotators(given)
        for row, (key, target) in enumerate(zip(self.columns.ids, targets, strict=True)):
            if key not in self.unbalanced:
                groups = _groups({name: values[row] for name, values in kinds.items()})
                yield Truth(key, target, groups)

    def _labels(self) -> Iterator[Mapping[str, float]]:
        for question in self.columns.questions():
            yield question.answers or {}

    def _annotators(self, given: Ragged) -> Iterator[tuple[str, ...]]:
        texts, rows = self.columns.answer_texts, given.rows.tolist()
        for begin, end in pairwise(given.starts.tolist()):
            yield tuple(texts[answer] for answer in rows[begin:end])


def read_truths(questions: Path, annotations: Path | None = None) -> Truths:
    """Read the ground truth of a split.

    Args:
        questions: the question file, in any format of ``clipvil_mmf.data.formats``.
        annotations: of official VQA v2: the annotation file, which has the answers.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: a bad file; questions without answers; question file and annotation file
            that do not belong together.
    """
    if annotations is None:
        return truths_of(read_columns([questions]))
    if recognise(questions) is not vqa_official:
        raise AnnotationError(
            f"{questions} is no official VQA question file; expected {{'questions': [...]}}. "
            "--annotations belongs to such a file alone: leave it out for other files"
        )
    return truths_of(read_columns([questions, annotations]))


def from_questions(questions: Iterable[Question], source: str) -> Truths:
    """The ground truth of questions that carry their label.

    Raises:
        AnnotationError: some have none.
    """
    return truths_of(columns_of(questions, source))


def truths_of(columns: Columns) -> Truths:
    """The ground truth in the columns of a split.

    Raises:
        AnnotationError: they have no answers.
    """
    if columns.answers is None:
        hint = "clipvil check-submission checks a file for the server of a test split"
        if columns.format == vqa_official.NAME:
            hint = f"give the annotation file as --annotations. {hint.capitalize()}"
        raise AnnotationError(
            f"{columns.source}: its answers are not known; expected a labelled split: {hint}"
        )
    if columns.given is not None:
        return Truths(columns, OFFICIAL_VQA)
    if columns.format != gqa_official.NAME:
        return Truths(columns, LABEL)
    balanced = columns.kinds.get(gqa_official.BALANCED, ())
    unbalanced = [key for key, yes in zip(columns.ids, balanced, strict=False) if yes == "no"]
    return Truths(columns, EXACT, frozenset(unbalanced))


def _groups(kinds: Mapping[str, str]) -> dict[str, str]:
    """Names of the groups; ``open`` are the questions of structural type query.

    So ``choose`` and ``compare``, which offer two answers in the question, count as binary. Source:
    the official ``eval.py`` of GQA.
    """
    groups = {}
    structural = kinds.get("structural")
    if structural:
        groups[OPENNESS] = "open" if structural == _QUERY else "binary"
    for name, kind in _KINDS.items():
        if kinds.get(name):
            groups[kind] = kinds[name]
    return groups
