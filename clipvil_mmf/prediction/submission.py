"""Whether a prediction file answers each question of a split exactly once, and none else.

Its rows are those of a task, ``[{"question_id": int, "answer": str}, ...]`` for vqa; a leaderboard
server refuses others. A CSV file has two columns and no header. Imports no torch.
"""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipvil_mmf.tasks import TASKS
from clipvil_mmf.text_files import TextFileError, read_text


@dataclass(frozen=True)
class Layout:
    """The rows of a task's prediction file."""

    name: str  # of the task
    id_key: str  # field of the question id
    answer_key: str  # field of the label
    has_server: bool  # whether a leaderboard server takes such files


LAYOUTS = {
    name: Layout(name, *task.row_fields, task.has_server) for name, (_, task) in TASKS.items()
}
UNANSWERED = "questions without an answer"


class SubmissionError(ValueError):
    """A file that is not a prediction file at all; the message says what it is."""


@dataclass(frozen=True)
class Problem:
    """One kind of fault, for which the file is refused."""

    what: str
    count: int  # rows or questions that have it
    examples: tuple[str, ...]  # the first few


@dataclass(frozen=True)
class Submission:
    """A prediction file beside the questions that it should answer."""

    rows: int  # number of rows of the file
    expected: int  # number of questions
    problems: tuple[Problem, ...]  # why it is refused
    predictions: dict[int | str, str]  # question id -> answer, of the rows that are in order

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
    """Read a prediction file, a JSON list or the CSV of a task (else ``SubmissionError``)."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Prediction file {path} does not exist; expected a JSON file")
    try:
        text = read_text(path)
        rows = _rows_of_csv(text) if path.suffix == ".csv" else json.loads(text)
    except TextFileError as e:
        raise SubmissionError(str(e)) from e
    except csv.Error as e:
        raise SubmissionError(f"{path} is not CSV ({e}); expected an id and a label a line") from e
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


def _rows_of_csv(text: str) -> list[dict[str, str]]:
    """The rows of a CSV without a header, as the task writes them that has such files."""
    names = next(task.row_fields for _, task in TASKS.values() if task.writes_csv)
    return [dict(zip(names, line, strict=False)) for line in csv.reader(text.splitlines()) if line]


def check_submission(
    rows: Sequence[Any], question_ids: Collection[int | str], layout: Layout, examples: int = 5
) -> Submission:
    """Check the rows of a file; so many ``examples`` are named for each problem."""
    expected = set(question_ids)
    other_type = {_other_type(key): key for key in expected}
    faults: defaultdict[str, list[str]] = defaultdict(list)
    seen: Counter[int | str] = Counter()
    predictions: dict[int | str, str] = {}
    for position, row in enumerate(rows):
        where = f"row {position}"
        if not isinstance(row, dict) or layout.id_key not in row:
            faults[f"rows without {layout.id_key!r}"].append(f"{where}: {json.dumps(row)[:80]}")
            continue
        key = row[layout.id_key]
        if not isinstance(key, (int, str)) or isinstance(key, bool) or key not in expected:
            what = "ids of no question"
            if isinstance(key, (int, str)) and key in other_type:
                what = f"ids of the wrong type (expected {type(other_type[key]).__name__})"
                seen[other_type[key]] += 1
            faults[what].append(f"{where}: {key!r}")
            continue
        seen[key] += 1
        answer = row.get(layout.answer_key)
        if layout.answer_key not in row:
            faults[f"rows without {layout.answer_key!r}"].append(f"{where}: question {key!r}")
        elif not isinstance(answer, str):
            who = f"question {key!r}: {json.dumps(answer)[:80]}"
            faults["answers that are not strings"].append(who)
        else:
            predictions.setdefault(key, answer)
    for key, count in seen.items():
        if count > 1:
            faults["questions answered more than once"].append(f"question {key!r}: {count} times")
    for key in question_ids:
        if key not in seen:
            faults[UNANSWERED].append(f"question {key!r}")
    problems = tuple(Problem(what, len(who), tuple(who[:examples])) for what, who in faults.items())
    return Submission(len(rows), len(expected), problems, predictions)


def read_predictions(
    path: Path, question_ids: Collection[int | str], layout: Layout | None = None
) -> dict[int | str, str]:
    """Read a prediction file that may leave questions out, but is in order else.

    Its layout is by default that of the first row.

    Returns:
        question id -> answer; what is empty, or has a row of another question, a doubled or an
        ill-formed one, is a ``SubmissionError``.
    """
    rows = read_rows(path)
    if not rows:
        raise SubmissionError(f"{path} holds no predictions; expected at least one")
    submission = check_submission(rows, question_ids, layout or layout_of_rows(rows))
    faults = [problem for problem in submission.problems if problem.what != UNANSWERED]
    if faults:
        raise SubmissionError(
            f"{path} does not fit the questions: {faults[0].what}: {faults[0].count:,}, such as "
            f"{faults[0].examples[0]}. Name the questions that it answers (--questions, --split)"
        )
    return submission.predictions


def _other_type(key: int | str) -> int | str | None:
    """The same id written as the other type: '17' for 17, and 17 for '17'."""
    if isinstance(key, int):
        return str(key)
    return int(key) if key.isdecimal() else None
