"""VQA v2 and GQA: which files a split has, where they come from, how large they are.

Imports the standard library. Counts of questions are those of the download pages and of the
LXMERT files; of images, those that the questions are about.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

OFFICIAL = "official"
LXMERT = "lxmert"
MMF = "mmf"
RELEASES = (OFFICIAL, LXMERT, MMF)


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
class Release:
    """The files of a split in one of the formats.

    Args:
        questions: the question file.
        annotations: the file with the answers, where that is another one.
    """

    questions: DataFile
    annotations: DataFile | None = None

    @property
    def files(self) -> tuple[DataFile, ...]:
        """All of them."""
        return (self.questions,) if self.annotations is None else (self.questions, self.annotations)


@dataclass(frozen=True)
class Split:
    """A split by its published name.

    Args:
        questions: how many it has.
        images: how many images they are about, if that is known.
        image_folder: the folder of the images, as the archives unpack.
        releases: format (``RELEASES``) -> files, in the order in which they are looked for.
        labelled: whether the answers are public.
        part_of: the split that has its questions, too.
    """

    questions: int
    images: int | None
    image_folder: str
    releases: Mapping[str, Release]
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
    folders: tuple[str, ...] = field(default=("", "annotations", "defaults/annotations", "lxmert"))

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


@dataclass(frozen=True)
class SplitFiles:
    """The files of a split on disk.

    Args:
        questions: the question file.
        annotations: the annotation file, if it is another one.
    """

    questions: Path
    annotations: Path | None = None

    @property
    def paths(self) -> list[Path]:
        """All of them."""
        return [self.questions] if self.annotations is None else [self.questions, self.annotations]


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


def find_split(dataset: str, split: str, root: Path) -> SplitFiles:
    """The files of a split, in the first format of which all are there.

    Args:
        dataset: vqa2 or gqa.
        split: its published name.
        root: the dataset's folder.

    Raises:
        CatalogueError: no such dataset or split, or no format is complete.
    """
    known = catalogue(dataset)
    wanted = known.split(split)
    lacking = []
    for files in wanted.releases.values():
        paths = [known.find(root, file.name) for file in files.files]
        if all(paths):
            return SplitFiles(*(path for path in paths if path is not None))
        missing = [f for f, path in zip(files.files, paths, strict=True) if path is None]
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


def _vqa_official(year: str, part: str, labelled: bool = True) -> Release:
    questions = DataFile(
        f"v2_OpenEnded_mscoco_{year}_questions.json", f"{_VQA_ZIPS}/v2_Questions_{part}_mscoco.zip"
    )
    annotations = DataFile(
        f"v2_mscoco_{year}_annotations.json", f"{_VQA_ZIPS}/v2_Annotations_{part}_mscoco.zip"
    )
    return Release(questions, annotations if labelled else None)


def _lxmert(dataset: str, split: str) -> Release:
    return Release(DataFile(f"{split}.json", f"{_LXMERT_FILES}/{dataset}/{split}.json"))


def _mmf(dataset: str, name: str) -> Release:
    return Release(
        DataFile(f"{name}.npy", f"{_MMF_FILES}/{dataset}/defaults/annotations/annotations.tar.gz")
    )


def _gqa_official(name: str) -> Release:
    return Release(DataFile(f"{name}_questions.json", f"{_GQA_ZIPS}/questions1.2.zip"))


VQA2 = Catalogue(
    name="vqa2",
    pages=("https://visualqa.org/download.html", "https://cocodataset.org/#download"),
    splits={
        "train": Split(
            443_757,
            82_783,
            "train2014",
            {
                OFFICIAL: _vqa_official("train2014", "Train"),
                LXMERT: _lxmert("vqa", "train"),
                MMF: _mmf("vqa2", "imdb_train2014"),
            },
        ),
        "val": Split(
            214_354,
            40_504,
            "val2014",
            {
                OFFICIAL: _vqa_official("val2014", "Val"),
                MMF: _mmf("vqa2", "imdb_val2014"),
            },
        ),
        # val = nominival + minival; LXMERT divided it, and trains on the first.
        "nominival": Split(
            188_360,
            35_504,
            "val2014",
            {
                LXMERT: _lxmert("vqa", "nominival"),
                MMF: _mmf("vqa2", "imdb_valminusminival2014"),
            },
            part_of="val",
        ),
        "minival": Split(
            25_994,
            5_000,
            "val2014",
            {
                LXMERT: _lxmert("vqa", "minival"),
                MMF: _mmf("vqa2", "imdb_minival2014"),
            },
            part_of="val",
        ),
        "test": Split(
            447_793,
            81_434,
            "test2015",
            {
                OFFICIAL: _vqa_official("test2015", "Test", labelled=False),
                LXMERT: _lxmert("vqa", "test"),
                MMF: _mmf("vqa2", "imdb_test2015"),
            },
            labelled=False,
        ),
        "test-dev": Split(
            107_394,
            None,
            "test2015",
            {OFFICIAL: _vqa_official("test-dev2015", "Test", labelled=False)},
            labelled=False,
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
    image_archives={
        folder: f"{_COCO_ZIPS}/{folder}.zip" for folder in ("train2014", "val2014", "test2015")
    },
    image_root="",
    answers=DataFile("trainval_label2ans.json", f"{_LXMERT_CODE}/vqa/trainval_label2ans.json"),
    min_count=9,  # as published: 3,129 answers
)

GQA = Catalogue(
    name="gqa",
    pages=("https://cs.stanford.edu/people/dorarad/gqa/download.html",),
    splits={
        "train": Split(
            943_000,
            72_140,
            "images",
            {
                OFFICIAL: _gqa_official("train_balanced"),
                LXMERT: _lxmert("gqa", "train"),
                MMF: _mmf("gqa", "train_balanced_questions"),
            },
        ),
        "val": Split(
            132_062,
            10_234,
            "images",
            {
                OFFICIAL: _gqa_official("val_balanced"),
                LXMERT: _lxmert("gqa", "valid"),
                MMF: _mmf("gqa", "val_balanced_questions"),
            },
        ),
        "testdev": Split(
            12_578,
            398,
            "images",
            {
                OFFICIAL: _gqa_official("testdev_balanced"),
                LXMERT: _lxmert("gqa", "testdev"),
            },
        ),
        "submission": Split(
            4_237_524,
            None,
            "images",
            {
                OFFICIAL: _gqa_official("submission_all"),
                LXMERT: _lxmert("gqa", "submit"),
            },
            labelled=False,
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
