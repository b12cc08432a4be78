"""What predictions are scored against: the answers of a split's question files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clipvil_mmf.data.formats import (
    aokvqa,
    gqa_official,
    stvqa,
    visual_genome,
    vizwiz,
    vqa_official,
)
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.table import QuestionTable
from clipvil_mmf.prediction.rules import (
    ANLS,
    CLASS,
    DIRECT_ANSWER,
    EXACT,
    LABEL,
    MULTIPLE_CHOICE,
    NORMALIZED,
    OF_ANNOTATORS,
    OFFICIAL_VQA,
    VIZWIZ,
)

# Format -> the rule of its data set; others are scored as VQA v2 where they say what each annotator
# answered, else by their labels.
_RULES = {
    gqa_official.NAME: EXACT,
    aokvqa.NAME: DIRECT_ANSWER,
    vizwiz.NAME: VIZWIZ,
    visual_genome.NAME: NORMALIZED,
    stvqa.NAME: ANLS,
}
# Rule -> the kind of questions that its evaluation does without, and what they have.
_LEFT_OUT = {EXACT: ("balanced", "no"), DIRECT_ANSWER: ("difficult", "yes")}

# Name in the table -> kind of group.
_KINDS = {
    "answerable": "answerable",
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
    # Of each annotator as written, by the rules OF_ANNOTATORS; else answer -> score in (0, 1].
    answers: tuple[str, ...] | Mapping[str, float]
    groups: Mapping[str, str]  # what it is counted under: kind of group -> name
    sentence: str = ""  # what questions share that are consistent together (NLVR2)


class Truths:
    """The ground truth of a labelled split, a question at a time.

    Args:
        table: its questions.
        chosen: whether answers are one of a question's choices (A-OKVQA).
    """

    def __init__(self, table: QuestionTable, chosen: bool = False) -> None:
        is_vqa = table.formats == [vqa_official.NAME]
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
        # How an answer is scored, one of rules.SCORES.
        self.rule = CLASS if "label" in self._kinds else LABEL
        if table.annotators() is not None:
            self.rule = OFFICIAL_VQA
        if len(table.formats) == 1:
            self.rule = _RULES.get(table.formats[0], self.rule)
        if chosen:
            self.rule = MULTIPLE_CHOICE
        # Questions that the official evaluation does without.
        kind, without = _LEFT_OUT.get(self.rule, ("", ""))
        has = self._kinds.get(kind, ())
        self.left_out = {key for key, name in zip(self.ids, has, strict=False) if name == without}

    def __iter__(self) -> Iterator[Truth]:
        """The questions that count."""
        answers: Any = self._table.labels()
        if self.rule in OF_ANNOTATORS:
            answers = self._table.annotators()
        elif self.rule == MULTIPLE_CHOICE:
            answers = ({choice: 1.0} for choice in self._table.correct_choices() or ())
        sentences = self._kinds.get("sentence")
        for row, (key, known) in enumerate(zip(self.ids, answers, strict=True)):
            if key in self.left_out:
                continue
            kinds = {name: self._kinds[name][row] for name in _KINDS if name in self._kinds}
            groups = {_KINDS[name]: kind for name, kind in kinds.items() if kind}
            # Of GQA's structural types `choose` and `compare`, which offer two answers in the
            # question, count as binary. Source: the official eval.py of GQA.
            if kinds.get("structural"):
                openness = "open" if kinds["structural"] == "query" else "binary"
                groups = {"binary / open": openness, **groups}
            yield Truth(key, known, groups, sentences[row] if sentences else "")
