"""Whether a prediction file answers each question of a split exactly once, and none else.

Its rows are those of a task, ``[{"question_id": int, "answer": str}, ...]`` for vqa; a leaderboard
server refuses others. A-OKVQA's file is an object instead, ``{question id: {"direct_answer": ...,
"multiple_choice": ...}}``, of which one setting may be left out. A CSV file has two columns and no
header. Rows may also have confidences and further answers (``tasks.confidence``), which
``plain_content`` leaves out. Imports no torch.
"""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as with_default
from pathlib import Path
from typing import Any

from clipvil_mmf.tasks import TASKS, build_task
from clipvil_mmf.tasks.confidence import CHOICE_CONFIDENCE, CONFIDENCE, FIELDS, TOP
from clipvil_mmf.text_files import TextFileError, read_text


@dataclass(frozen=True)
class Layout:
    """The rows of a task's prediction file."""

    name: str  # of the task
    id_key: str  # field of the question id
    answer_key: str  # field of the label
    has_server: bool  # whether a leaderboard server takes such files
    choice_key: str | None = None  # field of the choice, where questions have choices
    of: str = ""  # the task that has another layout besides
    is_number: bool = False  # whether the answer is a number in [0, 1], not a string


LAYOUTS = {
    name: Layout(name, *task.row_fields, task.has_server, task.choice_field)
    for name, (_, task) in TASKS.items()
}
LAYOUTS |= {
    f"{name}_{field}": Layout(
        f"{name}_{field}", task.row_fields[0], field, task.has_server, of=name, is_number=True
    )
    for name, (_, task) in TASKS.items()
    if (field := task.number_field) is not None
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
    # Question id -> answer (a number where the layout has these), of the rows that are in order.
    predictions: dict[int | str, Any]
    chosen: dict[int | str, str]  # question id -> choice, of these rows
    layout: Layout
    # Of these, where ``read_submission`` has found it: question id -> confidence in [0, 1], of the
    # answer and of the choice, and its best answers with theirs, the best first.
    confidences: dict[int | str, float] = with_default(default_factory=dict)
    choice_confidences: dict[int | str, float] = with_default(default_factory=dict)
    top: dict[int | str, list[tuple[str, float]]] = with_default(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """Whether the file is in order."""
        return not self.problems


def layout_of_rows(rows: Sequence[Any], task: str | None = None) -> Layout:
    """The layout of the first row that has one; that of the task, or VQA's, where none has.

    The type of the ids says nothing: one's own questions may have strings in either layout.

    Args:
        rows: of a file.
        task: name of the task whose layouts alone come into question, if that is known.
    """
    known = [layout for layout in LAYOUTS.values() if task in (None, layout.name, layout.of)]
    for row in filter(lambda row: isinstance(row, dict), rows):
        having = [layout for layout in known if layout.id_key in row]
        whole = [one for one in having if {one.answer_key, one.choice_key} & row.keys()]
        if having:
            return (whole or having)[0]
    return LAYOUTS[task or "vqa"]


def read_rows(path: str | Path) -> list[Any]:
    """Read a prediction file: a JSON list, A-OKVQA's object or a task's CSV; a ``SubmissionError``
    else.
    """
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
    if isinstance(rows, dict) and rows and all(isinstance(row, dict) for row in rows.values()):
        return [{"question_id": key, **row} for key, row in rows.items()]
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
    rows: Sequence[Any],
    question_ids: Collection[int | str],
    layout: Layout,
    examples: int = 5,
    choices: Mapping[int | str, Sequence[str]] | None = None,
) -> Submission:
    """Check the rows of a file.

    Args:
        rows: as the file has them.
        question_ids: of the questions that it should answer.
        layout: the fields that the rows should have.
        examples: how many are named for each problem.
        choices: what there is to choose from for each question, if there is.
    """
    fields = _answer_fields(rows, layout)
    expected = set(question_ids)
    other_type = {_other_type(key): key for key in expected}
    faults: defaultdict[str, list[str]] = defaultdict(list)
    seen: Counter[int | str] = Counter()
    answers: dict[str, dict[int | str, Any]] = {field: {} for field in fields}
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
        for field in fields:
            answer = row.get(field)
            if field not in row:
                faults[f"rows without {field!r}"].append(f"{where}: question {key!r}")
            elif layout.is_number:
                if _is_share(answer):
                    answers[field].setdefault(key, float(answer))
                else:
                    faults[f"{field} is not a number in [0, 1]"].append(_answered(key, answer))
            elif not isinstance(answer, str):
                faults["answers that are not strings"].append(_answered(key, answer))
            elif field == layout.choice_key and choices and answer not in choices[key]:
                faults["answers that are none of the choices"].append(_answered(key, answer))
            else:
                answers[field].setdefault(key, answer)
    for key, count in seen.items():
        if count > 1:
            faults["questions answered more than once"].append(f"question {key!r}: {count} times")
    for key in question_ids:
        if key not in seen:
            faults[UNANSWERED].append(f"question {key!r}")
    problems = tuple(Problem(what, len(who), tuple(who[:examples])) for what, who in faults.items())
    given, chosen = (answers.get(key or "", {}) for key in (layout.answer_key, layout.choice_key))
    return Submission(len(rows), len(expected), problems, given, chosen, layout)


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _answered(key: int | str, answer: Any) -> str:
    return f"question {key!r}: {json.dumps(answer)[:80]}"


def _answer_fields(rows: Sequence[Any], layout: Layout) -> list[str]:
    """The fields that every row has to have: those of the settings that some row answers."""
    if layout.choice_key is None:
        return [layout.answer_key]
    fields = (layout.answer_key, layout.choice_key)
    rows = [row for row in rows if isinstance(row, dict)]
    answered = [field for field in fields if any(row.get(field) is not None for row in rows)]
    return answered or [layout.answer_key]


def read_submission(
    path: Path,
    question_ids: Collection[int | str],
    layout: Layout | None = None,
    choices: Mapping[int | str, Sequence[str]] | None = None,
) -> Submission:
    """Read a prediction file that may leave questions out, but is in order else.

    Its layout is by default that of the first row; see ``check_submission``.

    Raises:
        SubmissionError: it is empty, or has a row of another question, a doubled or an ill-formed
            one.
    """
    rows = read_rows(path)
    if not rows:
        raise SubmissionError(f"{path} holds no predictions; expected at least one")
    layout = layout or layout_of_rows(rows)
    submission = check_submission(rows, question_ids, layout, choices=choices)
    faults = [problem for problem in submission.problems if problem.what != UNANSWERED]
    if faults:
        raise SubmissionError(
            f"{path} does not fit the questions: {faults[0].what}: {faults[0].count:,}, such as "
            f"{faults[0].examples[0]}. Name the questions that it answers (--questions, --split)"
        )
    keyed = [(row[layout.id_key], row) for row in rows]
    top = {key: row[TOP] for key, row in keyed if row.get(TOP) is not None}
    for key, pairs in top.items():
        if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
            raise SubmissionError(
                f"{path}: question {key!r} has the {TOP} {json.dumps(pairs)[:80]}; expected "
                "[[answer, confidence in [0, 1]], ...]"
            )
    return replace(
        submission,
        confidences=_confidences(keyed, CONFIDENCE, path),
        choice_confidences=_confidences(keyed, CHOICE_CONFIDENCE, path),
        top={key: [(answer, sure) for answer, sure in pairs] for key, pairs in top.items()},
    )


def read_answers(
    path: Path,
    question_ids: Collection[int | str],
    choices: Mapping[int | str, Sequence[str]] | None = None,
) -> Submission:
    """As ``read_submission``, of answers alone; ``SubmissionError``: the file holds numbers."""
    found = read_submission(path, question_ids, choices=choices)
    if found.layout.is_number:
        raise SubmissionError(
            f"{path} holds numbers ({found.layout.answer_key}); expected a file of answers"
        )
    return found


def has_further_fields(rows: Sequence[Any]) -> bool:
    """Whether rows have confidences or further answers, which no leaderboard file has."""
    return any(isinstance(row, dict) and not row.keys().isdisjoint(FIELDS) for row in rows)


def plain_content(rows: Sequence[Mapping[str, Any]], layout: Layout) -> Any:
    """The content of a leaderboard file: these rows, which are in order, with its fields alone."""
    fields = (layout.id_key, layout.answer_key, layout.choice_key)
    plain = [{name: row[name] for name in fields if name in row} for row in rows]
    return build_task(layout.of or layout.name).prediction_file(plain)


def _confidences(
    rows: Sequence[tuple[int | str, Mapping[str, Any]]], name: str, path: Path
) -> dict[int | str, float]:
    """Question id -> the confidence in the field ``name``, of the rows where it is not null."""
    found = {key: row[name] for key, row in rows if row.get(name) is not None}
    wrong = next((key for key, value in found.items() if not _is_confidence(value)), None)
    if wrong is not None:
        raise SubmissionError(
            f"{path}: question {wrong!r} has the {name} {json.dumps(found[wrong])[:80]}; expected "
            "a number in [0, 1]"
        )
    return found


def _is_confidence(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def _is_pair(pair: Any) -> bool:
    whole = isinstance(pair, list) and len(pair) == 2
    return whole and isinstance(pair[0], str) and _is_confidence(pair[1])


def _other_type(key: int | str) -> int | str | None:
    """The same id written as the other type: '17' for 17, and 17 for '17'."""
    if isinstance(key, int):
        return str(key)
    return int(key) if key.isdecimal() else None
