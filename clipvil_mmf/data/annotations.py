"""Question files as records: for small sets and for checking; training goes by ``store.py``."""

from __future__ import annotations

from pathlib import Path

from clipvil_mmf.data.questions import AnnotationError, Question, check_questions

__all__ = ["AnnotationError", "Question", "check_questions", "read_questions"]


def read_questions(path: str | Path) -> list[Question]:
    """Read and check a question file in any of the known formats (``formats/__init__.py``).

    Args:
        path: of the file. The answers of official VQA v2 questions stand in a second file, which
            is not read here.

    Returns:
        its questions in the order of the file; ``image`` is the image's path in its folder.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: the file is damaged, of no known format, or has bad ids.
    """
    # Imported here: the commands that check records start without numpy.
    from clipvil_mmf.data.formats import read_columns

    return list(read_columns([Path(path)]).questions())
