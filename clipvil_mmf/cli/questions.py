"""``--questions``, ``--split`` and ``--root``: questions by a dataset's name or by their file."""

from __future__ import annotations

from pathlib import Path

from clipvil_mmf.data import easy_vqa_files
from clipvil_mmf.data.catalogue import CATALOGUES, find_split, store_folder
from clipvil_mmf.data.formats import gqa_official, recognise, vqa_official
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.store import open_or_read
from clipvil_mmf.data.table import QuestionTable

EASY_VQA = "easy_vqa"
NAMES = (EASY_VQA, *CATALOGUES)


def load_questions(
    name: str, split: str, root: Path | None = None, annotations: Path | None = None
) -> QuestionTable:
    """The questions of a dataset by name, or of a file, with their answers if these are known.

    They are read from the store that training or ``clipvil prepare`` has made of the same files;
    that of a dataset is made here too, if there is none.

    Args:
        name: easy_vqa, vqa2, gqa, or a question file.
        split: of a dataset.
        root: folder of vqa2 or gqa.
        annotations: the annotation file of official VQA v2 questions.

    Raises:
        ValueError: neither a dataset nor a file has that name; no such split; a bad file.
        FileNotFoundError: a file of the split is missing.
    """
    if name == EASY_VQA:
        questions = easy_vqa_files.read_questions(split)
        return QuestionTable.from_questions(questions, f"{EASY_VQA} {split}")
    files = find_files(name, split, root)
    path = files[0]
    if annotations is not None:
        if recognise(path) is not vqa_official:
            raise AnnotationError(
                f"{path} is not an official VQA question file; expected {{'questions': [...]}}. "
                "--annotations belongs to such a file alone: leave it out for other files"
            )
        files = [path, annotations]
    if name in CATALOGUES and root is not None:
        split = CATALOGUES[name].aliases.get(split, split)
        return open_or_read(files, store_folder(root, split), keep=True)
    return open_or_read(files, store_folder(path.parent, path.stem), keep=False)


def leaderboard_of(name: str) -> str | None:
    """Whose leaderboard questions are for: vqa, gqa, or None where no server takes them.

    Args:
        name: see ``load_questions``; a file is known by its official format.

    Raises:
        AnnotationError: the file cannot be read.
    """
    if name in CATALOGUES:
        return {"vqa2": "vqa", "gqa": "gqa"}[name]
    if name == EASY_VQA:
        return None
    format = recognise(Path(name))
    return "vqa" if format is vqa_official else "gqa" if format is gqa_official else None


def is_test_dev(name: str, split: str, root: Path | None = None) -> bool:
    """Whether the questions are VQA v2's test-dev alone, a part of its test split."""
    if name == EASY_VQA:
        return False
    path = find_files(name, split, root)[0]
    return recognise(path) is vqa_official and vqa_official.is_test_dev(path)


def image_folder(name: str, root: Path | None) -> Path:
    """The folder that the images of ``load_questions`` are relative to."""
    if name in CATALOGUES and root is not None:
        return root / CATALOGUES[name].image_root
    return root or Path()


def find_files(name: str, split: str, root: Path | None = None) -> list[Path]:
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
    return [Path(name)]
