"""``--questions``, ``--split`` and ``--root``: questions by a dataset's name or by their file."""

from __future__ import annotations

from pathlib import Path

from clipvil_mmf.data import easy_vqa_files
from clipvil_mmf.data.annotations import Question, read_questions
from clipvil_mmf.data.catalogue import CATALOGUES, SplitFiles, find_split

EASY_VQA = "easy_vqa"
NAMES = (EASY_VQA, *CATALOGUES)


def load_questions(name: str, split: str, root: Path | None = None) -> list[Question]:
    """The questions of a dataset by name, or of a file.

    Args:
        name: easy_vqa, vqa2, gqa, or a question file (JSON).
        split: of a dataset.
        root: folder of vqa2 or gqa.

    Raises:
        ValueError: neither a dataset nor a file has that name; no such split.
        FileNotFoundError: a file of the split is missing.
    """
    if name == EASY_VQA:
        return easy_vqa_files.read_questions(split)
    return read_questions(find_files(name, split, root).questions)


def leaderboard_of(name: str) -> str | None:
    """Whose leaderboard questions are for: vqa, gqa, or None where no server takes them.

    Args:
        name: see ``load_questions``; a file is known by its official format.

    Raises:
        AnnotationError: the file cannot be read.
    """
    # Imported here, as in `read_questions`: numpy comes with it.
    from clipvil_mmf.data.formats import gqa_official, recognise, vqa_official

    if name in CATALOGUES:
        return {"vqa2": "vqa", "gqa": "gqa"}[name]
    if name == EASY_VQA:
        return None
    return {vqa_official: "vqa", gqa_official: "gqa"}.get(recognise(Path(name)))


def is_test_dev(name: str, split: str, root: Path | None = None) -> bool:
    """Whether the questions are VQA v2's test-dev alone, a part of its test split."""
    from clipvil_mmf.data.formats import recognise, vqa_official

    if name == EASY_VQA:
        return False
    path = find_files(name, split, root).questions
    return recognise(path) is vqa_official and vqa_official.is_test_dev(path)


def image_folder(name: str, root: Path | None) -> Path:
    """The folder that the images of ``load_questions`` are relative to."""
    if name in CATALOGUES and root is not None:
        return root / CATALOGUES[name].image_root
    return root or Path()


def find_files(name: str, split: str, root: Path | None = None) -> SplitFiles:
    """The files behind ``--questions``.

    Raises:
        ValueError: neither a dataset nor a file has that name; its root is not given, or its files
            are not there.
    """
    if name in CATALOGUES:
        if root is None:
            raise ValueError(
                f"--questions {name}: its folder is not known; expected --root DIR, the folder "
                "with its files"
            )
        return find_split(name, split, root)
    if not Path(name).is_file():
        raise ValueError(
            f"--questions {name}: no such file; expected a question file (JSON) or one of "
            f"{', '.join(NAMES)}"
        )
    return SplitFiles(Path(name))
