"""The model's answers, for scores that depend on them. Imports the standard library."""

from __future__ import annotations

import json
from pathlib import Path


class VocabularyError(ValueError):
    """A file that is no answer vocabulary; the message says what it is."""


def read_vocabulary(path: Path) -> frozenset[str]:
    """Read an answer list: a JSON list (``trainval_label2ans.json``), or one answer a line.

    Raises:
        FileNotFoundError: no such file.
        VocabularyError: it holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"Answer vocabulary {path} does not exist; expected a JSON list or one answer a line"
        )
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".json":
        answers = [line for line in text.splitlines() if line]
    else:
        try:
            answers = json.loads(text)
        except ValueError as e:
            raise VocabularyError(f"{path} is not valid JSON ({e}); expected a list") from e
    if not answers or not isinstance(answers, list) or not all(isinstance(a, str) for a in answers):
        raise VocabularyError(
            f"{path}: expected a list of answers, such as trainval_label2ans.json (not ans2label)"
        )
    return frozenset(answers)
