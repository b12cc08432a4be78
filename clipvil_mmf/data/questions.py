"""A question as a record, and what every set of questions has to keep to."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from reprlib import repr as short


class AnnotationError(ValueError):
    """A question file that cannot be used as it is; the message says where and what to do."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question about one image, or several."""

    question_id: int | str  # as the annotation gives it; so is its type in prediction files
    text: str
    image: str | tuple[str, ...]  # path or name of its image; of each, where it has several
    answers: Mapping[str, float] | None = None  # answer -> score in (0, 1]; None: not known


def below(folder: str | os.PathLike[str], question: Question) -> Question:
    """The question with its image, or each of several, as a path below a folder."""
    image = question.image
    if isinstance(image, str):
        return replace(question, image=os.path.join(folder, image))
    return replace(question, image=tuple(os.path.join(folder, one) for one in image))


def check_ids(ids: Iterable[int | str], source: str) -> None:
    """Check what every user of the questions relies on: unique ids of one type.

    Millions of ids take 8 bytes each here: their hashes are compared first.

    Args:
        ids: they are gone through twice.
        source: the file, for messages.

    Raises:
        AnnotationError: a missing, doubled or ill-typed id, one beyond 64 bits; no question at all.
    """
    hashes = array("q")
    first: int | str | None = None
    for position, key in enumerate(ids):
        where = f"{source}: question {position} has the"
        if isinstance(key, bool) or not isinstance(key, (int, str)) or key == "":
            raise AnnotationError(
                f"{where} id {short(key)}; expected an integer or a non-empty string. Give each "
                "question its question_id"
            )
        first = key if first is None else first
        if type(key) is not type(first):
            raise AnnotationError(
                f"{where} {type(key).__name__} id {short(key)}, the first one the "
                f"{type(first).__name__} id {short(first)}; expected one type. Leaderboards tell "
                "1 from '1': write all ids alike"
            )
        if isinstance(key, int) and not -(2**63) <= key < 2**63:
            raise AnnotationError(
                f"{where} id {short(key)}; expected one of 64 bits at most. Write such ids "
                "as strings"
            )
        hashes.append(hash(key))
    if first is None:
        raise AnnotationError(f"{source}: no questions; expected at least one")
    # Imported here: easy-VQA's files are read without it.
    import numpy as np

    values = np.frombuffer(hashes, np.int64)
    values.sort()  # in place
    suspected = set(values[1:][values[1:] == values[:-1]].tolist())
    seen: set[int | str] = set()
    for position, key in enumerate(ids if suspected else ()):
        if key in seen:
            raise AnnotationError(
                f"{source}: question id {short(key)} occurs twice, again at question {position}; "
                "expected unique ids. Remove or renumber one of them"
            )
        if hash(key) in suspected:
            seen.add(key)
