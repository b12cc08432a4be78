"""What predictions are scored against, and the files it is read from. Imports the standard library.

Understood files (all JSON):

* VQA v2, official: a question file beside its annotation file (``answers`` of ten annotators);
* GQA, official: ``{"<question id>": {"answer", "types", "isBalanced", ...}, ...}``;
* a list of questions with ``label: {answer: score}`` (LXMERT's files) or ``answer``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipvil_mmf.data.annotations import AnnotationError, Question

# The three ways to score an answer.
OFFICIAL_VQA = "official VQA accuracy, ten annotators"
EXACT = "exact match (GQA)"
LABEL = "score of the answer in the label"

ANSWER_TYPE = "answer type"
QUESTION_TYPE = "question type"
OPENNESS = "binary / open"
STRUCTURAL = "structural type"
SEMANTIC = "semantic type"

_QUERY = "query"


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known about the right answer to one question.

    Args:
        question_id: as the file gives it.
        annotators: the answer of each annotator, of official VQA files; empty elsewhere.
        label: answer -> score in (0, 1], elsewhere.
        groups: what the question is counted under: kind of group -> name.
    """

    question_id: int | str
    annotators: tuple[str, ...] = ()
    label: Mapping[str, float] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Truths:
    """The ground truth of a split.

    Args:
        rule: how its answers are scored: ``OFFICIAL_VQA``, ``EXACT`` or ``LABEL``.
        items: the questions that count.
        unbalanced: ids of GQA questions outside the balanced split: its official evaluation scores
            only balanced ones.
    """

    rule: str
    items: tuple[Truth, ...]
    unbalanced: frozenset[str] = frozenset()


def read_truths(questions: Path, annotations: Path | None = None) -> Truths:
    """Read the ground truth of a split.

    Args:
        questions: the question file.
        annotations: of official VQA v2: the annotation file, which has the answers.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: a file of another kind; questions without answers; question file and
            annotation file that do not belong together.
    """
    content = _read_json(questions, "question file")
    if isinstance(content, dict) and "annotations" in content:
        raise AnnotationError(
            f"{questions} holds annotations; expected questions. Give it as --annotations, and the "
            "question file of the same split as --questions"
        )
    if annotations is not None:
        ids = _official_ids(content, questions)
        return _vqa(_read_json(annotations, "annotation file"), annotations, ids, questions)
    if isinstance(content, dict) and isinstance(content.get("questions"), list):
        raise AnnotationError(
            f"{questions} has no answers; expected those of its annotation file. Give it as "
            "--annotations (v2_mscoco_<split>_annotations.json)"
        )
    if isinstance(content, dict):
        return _gqa(content, questions)
    if isinstance(content, list):
        return _labelled(content, questions)
    raise AnnotationError(
        f"{questions} holds a JSON {type(content).__name__}; expected a question file of VQA v2, "
        "GQA or LXMERT"
    )


def from_questions(questions: Iterable[Question], source: str) -> Truths:
    """The ground truth of questions that carry their label.

    Raises:
        AnnotationError: a question has none.
    """
    items = []
    for question in questions:
        if question.answers is None:
            raise _no_answer(source, question.question_id)
        items.append(Truth(question.question_id, label=question.answers))
    return Truths(LABEL, tuple(items))


def _read_json(path: Path, what: str) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{what.capitalize()} {path} does not exist; expected a JSON file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise AnnotationError(
            f"{path} is not valid JSON ({e}); expected a {what}. Was the download complete?"
        ) from e


def _official_ids(content: Any, path: Path) -> set[int | str]:
    rows = content.get("questions") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise AnnotationError(
            f"{path} is no official VQA question file; expected {{'questions': [...]}}. "
            "--annotations belongs to such a file alone: leave it out for LXMERT's and GQA's files"
        )
    return {_field(row, "question_id", f"{path}: question {i}") for i, row in enumerate(rows)}


def _vqa(content: Any, path: Path, ids: set[int | str], questions: Path) -> Truths:
    rows = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise AnnotationError(
            f"{path} is no official VQA annotation file; expected {{'annotations': [...]}}, such "
            "as v2_mscoco_val2014_annotations.json"
        )
    items = []
    for position, row in enumerate(rows):
        where = f"{path}: annotation {position}"
        given = _field(row, "answers", where)
        try:
            answers = tuple(str(answer["answer"]) for answer in given)
        except (TypeError, KeyError):
            answers = ()
        if not answers:
            raise AnnotationError(f"{where} has the answers {given!r}; expected [{{'answer'}}, ..]")
        groups = {
            ANSWER_TYPE: str(_field(row, "answer_type", where)),
            QUESTION_TYPE: str(_field(row, "question_type", where)),
        }
        items.append(Truth(_field(row, "question_id", where), annotators=answers, groups=groups))
    truths = Truths(OFFICIAL_VQA, _checked(items, path))
    known = {truth.question_id for truth in items}
    if known != ids:
        raise AnnotationError(
            f"{questions} and {path} do not belong together: {len(ids - known)} questions have no "
            f"annotation, {len(known - ids)} annotations have no question. Take both of one split"
        )
    return truths


def _gqa(content: Mapping[str, Any], path: Path) -> Truths:
    items, unbalanced = [], set()
    for key, row in content.items():
        if not isinstance(row, dict):
            raise AnnotationError(f"{path}: question {key!r} is {row!r}; expected an object")
        if row.get("isBalanced") is False:
            unbalanced.add(key)
            continue
        if not isinstance(row.get("answer"), str):
            raise _no_answer(str(path), key)
        items.append(Truth(key, label={row["answer"]: 1.0}, groups=_gqa_groups(row.get("types"))))
    return Truths(EXACT, _checked(items, path), frozenset(unbalanced))


def _gqa_groups(types: Any) -> dict[str, str]:
    """Names of the groups; ``open`` are the questions of structural type query (official eval.py).

    So ``choose`` and ``compare``, which offer two answers in the question, count as binary.
    """
    groups = {}
    structural, semantic = (types or {}).get("structural"), (types or {}).get("semantic")
    if structural:
        groups[OPENNESS] = "open" if structural == _QUERY else "binary"
        groups[STRUCTURAL] = structural
    if semantic:
        groups[SEMANTIC] = semantic
    return groups


def _labelled(content: list[Any], path: Path) -> Truths:
    items = []
    for position, row in enumerate(content):
        where = f"{path}: question {position}"
        key = _field(row, "question_id", where)
        label = row.get("label")
        if label is None and isinstance(row.get("answer"), str):
            label = {row["answer"]: 1.0}
        if label is None:
            raise _no_answer(str(path), key)
        if not isinstance(label, dict):
            raise AnnotationError(f"{where} has the label {label!r}; expected {{answer: score}}")
        kinds = ((ANSWER_TYPE, "answer_type"), (QUESTION_TYPE, "question_type"))
        groups = {kind: row[name] for kind, name in kinds if row.get(name)}
        items.append(Truth(key, label=label, groups={**groups, **_gqa_groups(row.get("types"))}))
    return Truths(LABEL, _checked(items, path))


def _checked(items: list[Truth], path: Path) -> tuple[Truth, ...]:
    seen: set[int | str] = set()
    for truth in items:
        if truth.question_id in seen:
            raise AnnotationError(
                f"{path}: question id {truth.question_id!r} occurs twice; expected unique ids"
            )
        seen.add(truth.question_id)
    if not items:
        raise AnnotationError(f"{path}: no questions to score; expected at least one")
    return tuple(items)


def _field(row: Any, name: str, where: str) -> Any:
    if not isinstance(row, dict) or row.get(name) is None:
        found = sorted(row) if isinstance(row, dict) else repr(row)
        raise AnnotationError(f"{where} has no {name!r} (found {found}); add it")
    return row[name]


def _no_answer(source: str, key: int | str) -> AnnotationError:
    return AnnotationError(
        f"{source}: the answer of question {key!r} is not known; expected a labelled split. "
        "Test splits are scored by their servers: clipvil check-submission checks a file for them"
    )
