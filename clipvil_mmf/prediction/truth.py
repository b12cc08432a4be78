"""What predictions are scored against: the answers of a split's question files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clipvil_mmf.data.formats import gqa_official, vqa_official
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.table import QuestionTable

# The ways to score an answer.
OFFICIAL_VQA = "official VQA accuracy, ten annotators"
CLASS = "accuracy, one class each"
EXACT = "exact match (GQA)"
LABEL = "score of the answer in the label"

# Name in the table -> kind of group.
_KINDS = {
    "answer_type": "answer type",
    "question_type": "question type",
    "structural": "structural type",
    "semantic": "semantic type",
    "label": "label",
}


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known about the right answer to one question."""

    question_id: int | str
    # Of each annotator as written, where OFFICIAL_VQA is the rule; else answer -> score in (0, 1].
    answers: tuple[str, ...] | Mapping[str, float]
    groups: Mapping[str, str]  # what it is counted under: kind of group -> name
    sentence: str = ""  # what questions share that are consistent together (NLVR2)


class Truths:
    """The ground truth of a labelled split, a question at a time."""

    def __init__(self, table: QuestionTable) -> None:
        is_vqa, is_gqa = (
            table.formats == [name] for name in (vqa_official.NAME, gqa_official.NAME)
        )
        if not table.is_labelled:
            hint = "clipvil check-submission checks a file for the server of a test split"
            if is_vqa:
                hint = f"give the annotation file as --annotations. {hint.capitalize()}"
            raise AnnotationError(
                f"{table.source}: its answers are not known; expected a labelled split: {hint}"
            )
        self._table = table
        self._kinds = table.kinds()
        self.ids: list[Any] = table.ids()
        # How an answer is scored: OFFICIAL_VQA, EXACT, CLASS or LABEL.
        self.rule = EXACT if is_gqa else CLASS if "label" in self._kinds else LABEL
        if table.annotators() is not None:
            self.rule = OFFICIAL_VQA
        # GQA's questions outside the balanced split: its official evaluation does without.
        balanced = self._kinds.get("balanced", ()) if is_gqa else ()
        self.unbalanced = {key for key, yes in zip(self.ids, balanced, strict=False) if yes == "no"}

    def __iter__(self) -> Iterator[Truth]:
        """The questions that count."""
        answers: Any = self._table.annotators() or self._table.labels()
        sentences = self._kinds.get("sentence")
        for row, (key, known) in enumerate(zip(self.ids, answers, strict=True)):
            if key in self.unbalanced:
                continue
            kinds = {name: self._kinds[name][row] for name in _KINDS if name in self._kinds}
            groups = {_KINDS[name]: kind for name, kind in kinds.items() if kind}
            # Of GQA's structural types `choose` and `compare`, which offer two answers in the
            # question, count as binary. Source: the official eval.py of GQA.
            if kinds.get("structural"):
                openness = "open" if kinds["structural"] == "query" else "binary"
                groups = {"binary / open": openness, **groups}
            yield Truth(key, known, groups, sentences[row] if sentences else "")
