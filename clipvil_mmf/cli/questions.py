"""The options of commands on questions, which are named by a dataset or by their file."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from clipvil_mmf.data import easy_vqa_files
from clipvil_mmf.data.catalogue import CATALOGUES, find_split, store_folder
from clipvil_mmf.data.formats import (
    aokvqa,
    gqa_official,
    nlvr2,
    nlvr2_lxmert,
    recognise,
    snli_ve,
    stvqa,
    textvqa,
    uniter_ve,
    vizwiz,
    vqa_official,
)
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.store import open_or_read
from clipvil_mmf.data.table import QuestionTable
from clipvil_mmf.prediction.submission import LAYOUTS

EASY_VQA = "easy_vqa"
NAMES = (EASY_VQA, *CATALOGUES)

FileArgument = Annotated[Path, typer.Argument(help="The prediction file (JSON).")]
QuestionsOption = Annotated[
    str,
    typer.Option(
        help=f"What it answers: {', '.join(NAMES)}, or a question file (official VQA v2, official "
        "GQA, LXMERT's ...)."
    ),
]
SplitOption = Annotated[str, typer.Option(help="The split, where a dataset is named.")]
RootOption = Annotated[
    Path | None,
    typer.Option(help="The folder of the dataset, or of the images of a question file."),
]
AnnotationsOption = Annotated[
    Path | None, typer.Option(help="The annotation file beside an official VQA v2 question file.")
]
# Format -> the task whose rows answer its questions.
_ROWS = (
    *((vqa_official, "vqa"), (gqa_official, "gqa"), (aokvqa, "aokvqa")),
    *((vizwiz, "vizwiz"), (textvqa, "vqa"), (stvqa, "vqa")),
    *((snli_ve, "snli_ve"), (uniter_ve, "snli_ve"), (nlvr2, "nlvr2"), (nlvr2_lxmert, "nlvr2")),
)
# Field names of the rows.
Format = Enum("Format", {name: name for name in ("auto", *LAYOUTS)}, type=str)  # type: ignore[misc]


def load_questions(
    name: str, split: str, root: Path | None = None, annotations: Path | None = None
) -> QuestionTable:
    """The questions of a dataset by name, or of a file, with their answers if these are known.

    They are read from the store that training or ``clipvil prepare`` has made of the same files;
    that of a dataset is made here too, if there is none.
    """
    if name == EASY_VQA:
        questions = easy_vqa_files.read_questions(split)
        return QuestionTable.from_questions(
            questions,
            f"{EASY_VQA} {split}",
            lambda question: {"question_type": easy_vqa_files.question_type(question.text)},
        )
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


def labelled_split(name: str) -> str:
    """The split of a dataset whose answers are known and that is not trained on."""
    return "val" if name in CATALOGUES else "test"


def task_of(name: str) -> str | None:
    """The task whose rows a file about these questions needs; None where any will do."""
    if name in NAMES:
        return CATALOGUES[name].rows if name in CATALOGUES else None
    format = recognise(Path(name))
    return next((task for module, task in _ROWS if format is module), None)


def choices_of(table: QuestionTable) -> dict[Any, tuple[str, ...]] | None:
    """What there is to choose from, by the questions' ids; None where they have no choices."""
    choices = table.choices()
    return None if choices is None else dict(zip(table.ids(), choices, strict=True))


def is_test_dev(name: str, split: str, root: Path | None = None) -> bool:
    """Whether the questions are VQA v2's test-dev alone, a part of its test split."""
    if name == EASY_VQA:
        return False
    path = find_files(name, split, root)[0]
    return recognise(path) is vqa_official and vqa_official.is_test_dev(path)


def image_folder(name: str, root: Path | None) -> Path:
    """The folder that the images of ``load_questions`` are relative to."""
    if name == EASY_VQA:
        return easy_vqa_files.package_data()
    if name in CATALOGUES and root is not None:
        return root / CATALOGUES[name].image_root
    return root or Path()


def find_files(name: str, split: str, root: Path | None = None) -> list[Path]:
    """The files behind ``--questions``; ``ValueError``: neither a dataset nor a file."""
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
