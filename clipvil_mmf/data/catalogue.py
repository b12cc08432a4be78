"""VQA v2 and GQA: which files a split has, where they come from, how large they are.

Imports the standard library. Counts of questions are those of the download pages and of the
LXMERT files; of images, those that the questions are about.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OFFICIAL = "official"
LXMERT = "lxmert"
MMF = "mmf"


class CatalogueError(ValueError):
    """A dataset, split or file that is not there; the message says what there is."""


@dataclass(frozen=True)
class DataFile:
    """One file of a dataset.

    Args:
        name: its name, as released.
        url: where it is downloaded from; an archive holds it where the names differ.
    """

    name: str
    url: str


@dataclass(frozen=True)
class Split:
    """A split by its published name.

    Args:
        questions: how many it has.
        images: how many images they are about, if that is known.
        image_folder: the folder of the images, as the archives unpack.
        releases: format (``OFFICIAL``, ``LXMERT``, ``MMF``) -> its files, the question file and,
            where the answers are in another one, that; in the order in which they are looked for.
        labelled: whether the answers are public.
        part_of: the split that has its questions, too.
    """

    questions: int
    images: int | None
    image_folder: str
    releases: Mapping[str, tuple[DataFile, ...]]
    labelled: bool = True
    part_of: str | None = None


@dataclass(frozen=True)
class Catalogue:
    """A dataset.

    Args:
        name: its key in a configuration.
        pages: where its licence, its description and its downloads are.
        splits: published name -> split.
        aliases: other published name -> name here.
        default_splits: what ``clipvil prepare`` prepares unless told otherwise.
        image_archives: image folder -> where it is downloaded from.
        image_root: the folder below the dataset's that paths of images begin in.
        answers: the published answer vocabulary.
        min_count: how often an answer has to occur to be in a vocabulary of one's own.
        folders: below the dataset's folder, where a file may lie.
    """

    name: str
    pages: tuple[str, ...]
    splits: Mapping[str, Split]
    aliases: Mapping[str, str]
    default_splits: tuple[str, ...]
    image_archives: Mapping[str, str]
    image_root: str
    answers: DataFile
    min_count: int
    folders: tuple[str, ...] = ("", "annotations", "defaults/annotations", "lxmert")

    def split(self, name: str) -> Split:
        """The split of that name.

        Raises:
            CatalogueError: there is none.
        """
        found = self.splits.get(self.aliases.get(name, name))
        if found is None:
            raise CatalogueError(
                f"{self.name} has no split {name!r}; expected one of {', '.join(self.splits)}"
                f"{_nearest(name, self.splits)}"
            )
        return found

    def find(self, root: Path, name: str) -> Path | None:
        """Where a file lies below the dataset's folder, or None."""
        for folder in self.folders:
            if (root / folder / name).is_file():
                return root / folder / name
        return None


def catalogue(name: str) -> Catalogue:
    """The dataset of that name.

    Raises:
        CatalogueError: there is none.
    """
    if name not in CATALOGUES:
        raise CatalogueError(
            f"no dataset {name!r}; expected one of {', '.join(CATALOGUES)}"
            f"{_nearest(name, CATALOGUES)}"
        )
    return CATALOGUES[name]


def find_split(dataset: str, split: str, root: Path) -> list[Path]:
    """The files of a split, in the first format of which all are there.

    Raises:
        CatalogueError: no such dataset or split, or no format is complete.
    """
    known = catalogue(dataset)
    wanted = known.split(split)
    lacking = []
    for files in wanted.releases.values():
        paths = {file: known.find(root, file.name) for file in files}
        missing = [file for file, path in paths.items() if path is None]
        if not missing:
            return [path for path in paths.values() if path is not None]
        lacking.append(" and ".join(f"{file.name} ({file.url})" for file in missing))
    raise CatalogueError(
        f"{dataset} {split}: its files are not in {root}. Put there {'; or '.join(lacking)}"
    )


def store_folder(root: Path, split: str) -> Path:
    """Where the store of a split lies, beside the data; ``store_path`` adds whose files' it is."""
    return root / "stores" / split


def _nearest(name: str, names: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name.lower(), names, n=1)
    return f". Did you mean {near[0]!r}?" if near else ""


_VQA_ZIPS = "https://s3.amazonaws.com/cvmlp/vqa/mscoco/vqa"
_LXMERT_FILES = "https://nlp.cs.unc.edu/data/lxmert_data"
_LXMERT_CODE = "https://raw.githubusercontent.com/airsplay/lxmert/master/data"
_COCO_ZIPS = "http://images.cocodataset.org/zips"
_GQA_ZIPS = "https://downloads.cs.stanford.edu/nlp/data/gqa"
_MMF_FILES = "https://dl.fbaipublicfiles.com/mmf/data/datasets"


def _vqa_official(name: str, part: str) -> tuple[DataFile, DataFile]:
    return (
        DataFile(
            f"v2_OpenEnded_mscoco_{name}_questions.json",
            f"{_VQA_ZIPS}/v2_Questions_{part}_mscoco.zip",
        ),
        DataFile(
            f"v2_mscoco_{name}_annotations.json", f"{_VQA_ZIPS}/v2_Annotations_{part}_mscoco.zip"
        ),
    )


def _gqa_official(name: str) -> tuple[DataFile]:
    return (DataFile(f"{name}_questions.json", f"{_GQA_ZIPS}/questions1.2.zip"),)


def _split(
    questions: int,
    images: int | None,
    folder: str,
    official: tuple[DataFile, ...] = (),
    lxmert: str | None = None,
    mmf: str | None = None,
    **others: Any,
) -> Split:
    """A split whose files of LXMERT's and MMF's are given as ``<their folder>/<name>``."""
    releases = {OFFICIAL: official} if official else {}
    if lxmert is not None:
        file = f"{lxmert}.json"
        releases[LXMERT] = (DataFile(file.partition("/")[2], f"{_LXMERT_FILES}/{file}"),)
    if mmf is not None:
        dataset, _, name = mmf.partition("/")
        url = f"{_MMF_FILES}/{dataset}/defaults/annotations/annotations.tar.gz"
        releases[MMF] = (DataFile(f"{name}.npy", url),)
    return Split(questions, images, folder, releases, **others)


_TRAIN, _VAL, _TEST = "train2014", "val2014", "test2015"

VQA2 = Catalogue(
    name="vqa2",
    pages=("https://visualqa.org/download.html", "https://cocodataset.org/#download"),
    splits={
        "train": _split(
            443_757,
            82_783,
            _TRAIN,
            _vqa_official(_TRAIN, "Train"),
            "vqa/train",
            "vqa2/imdb_train2014",
        ),
        "val": _split(214_354, 40_504, _VAL, _vqa_official(_VAL, "Val"), mmf="vqa2/imdb_val2014"),
        # val = nominival + minival; LXMERT divided it, and trains on the first.
        "nominival": _split(
            188_360,
            35_504,
            _VAL,
            (),
            "vqa/nominival",
            "vqa2/imdb_valminusminival2014",
            part_of="val",
        ),
        "minival": _split(
            25_994, 5_000, _VAL, (), "vqa/minival", "vqa2/imdb_minival2014", part_of="val"
        ),
        "test": _split(
            447_793,
            81_434,
            _TEST,
            _vqa_official(_TEST, "Test")[:1],
            "vqa/test",
            "vqa2/imdb_test2015",
            labelled=False,
        ),
        "test-dev": _split(
            107_394, None, _TEST, _vqa_official("test-dev2015", "Test")[:1], labelled=False
        ),
    },
    aliases={
        "train2014": "train",
        "val2014": "val",
        "test2015": "test",
        "test-dev2015": "test-dev",
        "test_dev": "test-dev",
    },
    default_splits=("train", "nominival", "minival", "test"),
    image_archives={name: f"{_COCO_ZIPS}/{name}.zip" for name in (_TRAIN, _VAL, _TEST)},
    image_root="",
    answers=DataFile("trainval_label2ans.json", f"{_LXMERT_CODE}/vqa/trainval_label2ans.json"),
    min_count=9,  # as published: 3,129 answers
)

GQA = Catalogue(
    name="gqa",
    pages=("https://cs.stanford.edu/people/dorarad/gqa/download.html",),
    splits={
        "train": _split(
            943_000,
            72_140,
            "images",
            _gqa_official("train_balanced"),
            "gqa/train",
            "gqa/train_balanced_questions",
        ),
        "val": _split(
            132_062,
            10_234,
            "images",
            _gqa_official("val_balanced"),
            "gqa/valid",
            "gqa/val_balanced_questions",
        ),
        "testdev": _split(12_578, 398, "images", _gqa_official("testdev_balanced"), "gqa/testdev"),
        "submission": _split(
            4_237_524, None, "images", _gqa_official("submission_all"), "gqa/submit", labelled=False
        ),
    },
    aliases={"valid": "val", "submit": "submission", "test-dev": "testdev"},
    default_splits=("train", "val", "testdev"),
    image_archives={"images": f"{_GQA_ZIPS}/images.zip"},
    image_root="images",
    answers=DataFile("trainval_label2ans.json", f"{_LXMERT_CODE}/gqa/trainval_label2ans.json"),
    min_count=1,
)

CATALOGUES: Mapping[str, Catalogue] = {known.name: known for known in (VQA2, GQA)}
