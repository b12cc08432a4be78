"""Whether a prediction file answers each question of a split exactly once, and none else.

Its rows are those of a task, ``[{"question_id": int, "answer": str}, ...]`` for vqa; a leaderboard
server refuses others. Imports no torch.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipvil_mmf.data.questions import Question
from clipvil_mmf.tasks import TASKS
from clipvil_mmf.text_files import TextFileError, read_text


@dataclass(frozen=True)
class Layout:
    """The rows of a task's prediction file.

    Args:
        name: of the task.
        id_key: field of the question id.
        answer_key: field of the label.
        has_server: whether a leaderboard server takes such files.
    """

    name: str
    id_key: str
    answer_key: str
    has_server: bool


LAYOUTS = {
    name: Layout(name, *task.row_fields, task.has_server) for name, (_, task) in TASKS.items()
}


UNANSWERED = "questions without an answer"


class SubmissionError(ValueError):
    """A file that is no prediction file at all; the message says what it is."""


@dataclass(frozen=True)
class Problem:
    """One kind of fault, for which the file is refused.

    Args:
        what: the fault.
        count: how many rows or questions have it.
        examples: the first few.
    """

    what: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Submission:
    """A prediction file beside the questions that it should answer.

    Args:
        rows: number of rows of the file.
        expected: number of questions.
        problems: why it is refused.
        predictions: question id -> answer, of the rows that are in order.
    """

    rows: int
    expected: int
    problems: tuple[Problem, ...]
    predictions: dict[int | str, str]

    @property
    def accepted(self) -> bool:
        """Whether the file is in order."""
        return not self.problems


def layout_of_rows(rows: Sequence[Any]) -> Layout:
    """The layout of the first row that has one; VQA's where none has.

    The type of the ids says nothing: one's own questions may have strings in either layout.
    """
    for row in rows:
        for layout in LAYOUTS.values():
            if isinstance(row, dict) and layout.id_key in row:
                return layout
    return LAYOUTS["vqa"]


def read_rows(path: str | Path) -> list[Any]:
    """Read a prediction file.

    Raises:
        FileNotFoundError: no such file.
        SubmissionError: it is not a JSON list.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Prediction file {path} does not exist; expected a JSON file")
    try:
        rows = json.loads(read_text(path))
    except TextFileError as e:
        raise SubmissionError(str(e)) from e
    except (ValueError, RecursionError) as e:
        raise SubmissionError(
            f"{path} is not valid JSON ({e}); expected a list of predictions. Was the run cut off "
            "while it wrote?"
        ) from e
    if not isinstance(rows, list):
        raise SubmissionError(
            f"{path} holds a JSON {type(rows).__name__}; expected a list of predictions"
        )
    return rows


def check_submission(
    rows: Sequence[Any], questions: Sequence[Question], layout: Layout, examples: int = 5
) -> Submission:
    """Check the rows of a prediction file against the questions.

    Args:
        rows: of the file.
        questions: of the split that it should answer.
        layout: names of the fields.
        examples: how many offenders to name for each problem.
    """
    return check_rows(rows, [question.question_id for question in questions], layout, examples)


def check_rows(
    rows: Sequence[Any], question_ids: Collection[int | str], layout: Layout, examples: int = 5
) -> Submission:
    """``check_submission`` for those who know the ids of the questions alone."""
    expected = set(question_ids)
    other_type = {_other_type(key): key for key in expected}
    faults: dict[str, list[str]] = {}
    seen: Counter[int | str] = Counter()
    predictions: dict[int | str, str] = {}

    def blame(what: str, who: str) -> None:
        faults.setdefault(what, []).append(who)

    for position, row in enumerate(rows):
        if not isinstance(row, dict) or layout.id_key not in row:
            blame(f"rows without {layout.id_key!r}", f"row {position}: {json.dumps(row)[:80]}")
            continue
        key = row[layout.id_key]
        if not isinstance(key, (int, str)) or isinstance(key, bool) or key not in expected:
            if isinstance(key, (int, str)) and key in other_type:
                right = type(other_type[key]).__name__
                blame(f"ids of the wrong type (expected {right})", f"row {position}: {key!r}")
                seen[other_type[key]] += 1
            else:
                blame("ids of no question", f"row {position}: {key!r}")
            continue
        seen[key] += 1
        answer = row.get(layout.answer_key)
        if layout.answer_key not in row:
            blame(f"rows without {layout.answer_key!r}", f"row {position}: question {key!r}")
        elif not isinstance(answer, str):
            blame("answers that are no strings", f"question {key!r}: {json.dumps(answer)[:80]}")
        else:
            predictions.setdefault(key, answer)
    for key, count in seen.items():
        if count > 1:
            blame("questions answered more than once", f"question {key!r}: {count} times")
    for key in question_ids:
        if key not in seen:
            blame(UNANSWERED, f"question {key!r}")
    problems = tuple(Problem(what, len(who), tuple(who[:examples])) for what, who in faults.items())
    return Submission(len(rows), len(expected), problems, predictions)


def predictions_of(
    rows: Sequence[Any], layout: Layout, question_ids: Collection[int | str], source: str
) -> dict[int | str, str]:
    """The predictions of a file that may leave questions out, but is in order else.

    Args:
        rows: of the file.
        layout: names of the fields.
        question_ids: what it may answer.
        source: the file, for messages.

    Returns:
        question id -> answer.

    Raises:
        SubmissionError: it is empty; a row is about another question, is doubled or ill-formed.
    """
    if not rows:
        raise SubmissionError(f"{source} holds no predictions; expected at least one")
    submission = check_rows(rows, question_ids, layout)
    faults = [problem for problem in submission.problems if problem.what != UNANSWERED]
    if faults:
        raise SubmissionError(
            f"{source} does not fit the questions: {faults[0].what}: {faults[0].count:,}, such as "
            f"{faults[0].examples[0]}. Name the questions that it answers (--questions, --split)"
        )
    return submission.predictions


def _other_type(key: int | str) -> int | str | None:
    """The same id written as the other type: '17' for 17, and 17 for '17'."""
    if isinstance(key, int):
        return str(key)
    return int(key) if key.isdecimal() else None
