"""The formats of question files, each a file of this folder and a line of ``FORMATS``.

A package of one's own adds a format when it is imported:

    from clipvil_mmf.data.formats import FORMATS

    FORMATS["my CSV"] = my_csv  # a module or an object with the two functions of ``Format``

Everything else reads the table that the format makes (``clipvil_mmf/data/table.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from clipvil_mmf.data.formats import (
    aokvqa,
    gqa_official,
    lxmert,
    lxmert_pretraining,
    mmf_npy,
    nlvr2,
    nlvr2_lxmert,
    plain,
    snli_ve,
    stvqa,
    textvqa,
    uniter_ve,
    visual_genome,
    vizwiz,
    vqa_official,
)
from clipvil_mmf.data.formats.json_stream import Progress, QuestionFile, no_progress
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.table import QuestionTable
from clipvil_mmf.registry import Registry


class Format(Protocol):
    """What a format of question files is; a ``NOTE`` about it is said in the log of a run."""

    def recognises(self, file: QuestionFile) -> bool:
        """Whether the file is of this format, by its name (``path``) or its content."""

    def read(self, files: Sequence[Path], progress: Progress) -> QuestionTable:
        """Read the questions of a split with a ``TableBuilder``.

        Args:
            files: the question file, and where the configuration names one its annotation file.
            progress: to be called with the number of bytes or characters just read.

        Raises:
            AnnotationError: a file cannot be used; the message says where, and what to do.
        """


# Name -> format. The last one that recognises a file reads it: `plain` takes any list, and one that
# is added later goes before those of this package.
FORMATS: Registry[Format] = Registry(
    "file format",
    {
        module.NAME: cast(Format, module)
        for module in (
            *(plain, lxmert, lxmert_pretraining, gqa_official, vqa_official, mmf_npy),
            *(aokvqa, vizwiz, visual_genome, textvqa, stvqa),
            *(snli_ve, uniter_ve, nlvr2, nlvr2_lxmert),
        )
    },
    given=["recognises", "read"],
)


def recognise(path: Path) -> Format:
    """The format of a question file; ``AnnotationError``: none of the known formats."""
    if not path.is_file():
        raise FileNotFoundError(f"Question file {path} does not exist; expected a question file")
    file = QuestionFile(path)
    for format in reversed(FORMATS.values()):
        if format.recognises(file):
            return format
    head = file.elements
    if file.error is not None:
        raise file.error
    if not head:
        raise AnnotationError(f"{path}: no questions; expected at least one")
    raise AnnotationError(
        f"{path}: expected questions in one of the formats: {', '.join(FORMATS)}; found an object "
        f"with {', '.join(repr(key) for key, _ in head[:3])}"
    )


def read_table(files: Sequence[Path], progress: Progress = no_progress) -> QuestionTable:
    """Read the questions of a split into memory; see ``Format.read``.

    Whatever else a file's odd content leads to is an ``AnnotationError`` too.
    """
    try:
        return recognise(files[0]).read(files, progress)
    except (AnnotationError, FileNotFoundError):
        raise
    except Exception as e:
        names = " + ".join(map(str, files))
        raise AnnotationError(
            f"{names} cannot be read ({type(e).__name__}: {e}); expected question files in one of "
            "the known formats. Are they damaged?"
        ) from e


# The name by which scripts outside the repository know it.
read_columns = read_table
