"""VQA v2, GQA and the like: which files a split has, whose they are, how large it is.

Imports the standard library. Counts of questions are those of the download pages, the papers and
the LXMERT files, None where none of these says one to the digit; of images, those that the
questions are about.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

OFFICIAL = "official"
LXMERT = "lxmert"
MMF = "mmf"
UNITER = "uniter"

T = TypeVar("T")


class CatalogueError(ValueError):
    """A dataset, split or file that is not there; the message says what there is."""


@dataclass(frozen=True)
class DataFile:
    """One file of a dataset."""

    name: str  # as released
    url: str  # where it is downloaded from; an archive holds it where the names differ


@dataclass(frozen=True)
class Split:
    """A split by its published name."""

    questions: int | None  # how many, if that is known
    images: int | None  # how many the questions are about, if that is known
    image_folder: str  # as the archives unpack
    # Format (OFFICIAL, LXMERT, MMF) -> its files, the question file and, where the answers are in
    # another one, that; in the order in which they are looked for.
    releases: Mapping[str, tuple[DataFile, ...]]
    labelled: bool = True  # whether the answers are public
    part_of: str | None = None  # the split that has its questions, too


@dataclass(frozen=True)
class Catalogue:
    """A dataset."""

    name: str  # its key in a configuration
    pages: tuple[str, ...]  # where its licence, its description and its downloads are
    splits: Mapping[str, Split]  # by published name
    aliases: Mapping[str, str]  # other published name -> name here
    default_splits: tuple[str, ...]  # what `clipvil prepare` prepares unless told otherwise
    image_archives: Mapping[str, str]  # image folder -> where it is downloaded from
    image_root: str  # the folder below the dataset's that paths of images begin in
    answers: DataFile | None  # the published answer vocabulary, if there is one
    # How often an answer has to occur to be in a vocabulary of one's own; None where the task says
    # its labels.
    min_count: int | None = None
    rows: str | None = None  # the task whose rows a prediction file needs; None: any will do
    # Below the dataset's folder, where a file may lie.
    folders: tuple[str, ...] = ("", "annotations", "defaults/annotations", "lxmert", "txt_db")
    # The yaml file that trains on it; None for that of its name.
    recipe: str | None = None

    def split(self, name: str) -> Split:
        """The split of that name; ``CatalogueError``: there is none."""
        return _look_up(self.splits, self.aliases.get(name, name), f"{self.name} has no split")

    def find(self, root: Path, name: str) -> Path | None:
        """Where a file lies below the dataset's folder, or None."""
        places = (root / folder / name for folder in self.folders)
        return next((path for path in places if path.is_file()), None)


def catalogue(name: str) -> Catalogue:
    """The dataset of that name; ``CatalogueError``: there is none."""
    return _look_up(CATALOGUES, name, "no dataset")


def find_split(dataset: str, split: str, root: Path) -> list[Path]:
    """The files of a split, in the first format of which all are there (or ``CatalogueError``)."""
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


def _look_up(known: Mapping[str, T], name: str, lacks: str) -> T:
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f". Did you mean {near[0]!r}?" if near else ""
        raise CatalogueError(f"{lacks} {name!r}; expected one of {', '.join(known)}{hint}")
    return known[name]


_VQA_ZIPS = "https://s3.amazonaws.com/cvmlp/vqa/mscoco/vqa"
_LXMERT_FILES = "https://nlp.cs.unc.edu/data/lxmert_data"
_LXMERT_CODE = "https://raw.githubusercontent.com/airsplay/lxmert/master/data"
_COCO_ZIPS = "http://images.cocodataset.org/zips"
_GQA_ZIPS = "https://downloads.cs.stanford.edu/nlp/data/gqa"
_UNITER_FILES = "https://acvrpublicycchen.blob.core.windows.net/uniter/txt_db"
_SNLI_VE_PAGE = "https://github.com/necla-ml/SNLI-VE"
_FLICKR_PAGE = "http://shannon.cs.illinois.edu/DenotationGraph/"
_NLVR2_FILES = "https://raw.githubusercontent.com/lil-lab/nlvr/master/nlvr2/data"
_NLVR2_PAGE = "https://github.com/lil-lab/nlvr/tree/master/nlvr2"
_MMF_FILES = "https://dl.fbaipublicfiles.com/mmf/data/datasets"


def _split(
    questions: int | None,
    images: int | None,
    folder: str,
    official: tuple[DataFile, ...] = (),
    lxmert: str = "",
    mmf: str = "",
    **others: Any,
) -> Split:
    """A split whose files of LXMERT's and MMF's are given as ``<their folder>/<name>``."""
    releases = {OFFICIAL: official} if official else {}
    if lxmert:
        name = f"{lxmert.partition('/')[2]}.json"
        releases[LXMERT] = (DataFile(name, f"{_LXMERT_FILES}/{lxmert}.json"),)
    if mmf:
        dataset, _, name = mmf.partition("/")
        url = f"{_MMF_FILES}/{dataset}/defaults/annotations/annotations.tar.gz"
        releases[MMF] = (DataFile(f"{name}.npy", url),)
    return Split(questions, images, folder, releases, **others)


def _vqa(count: int, images: int | None, folder: str, *others: str, **options: Any) -> Split:
    """A split of VQA v2; one that is a part of another has no official files."""
    files: tuple[DataFile, ...] = ()
    if "part_of" not in options:
        name = options.pop("name", folder)
        part = {"train2014": "Train", "val2014": "Val"}.get(name, "Test")
        questions, answers = (
            DataFile(f"v2_{file}.json", f"{_VQA_ZIPS}/v2_{zipped}_{part}_mscoco.zip")
            for file, zipped in (
                (f"OpenEnded_mscoco_{name}_questions", "Questions"),
                (f"mscoco_{name}_annotations", "Annotations"),
            )
        )
        files = (questions,) if part == "Test" else (questions, answers)
    return _split(count, images, folder, files, *others, **options)


def _gqa(count: int | None, images: int | None, name: str, *others: str, **options: Any) -> Split:
    file = DataFile(f"{name}_questions.json", f"{_GQA_ZIPS}/questions1.2.zip")
    return _split(count, images, "images", (file,), *others, **options)


_TRAIN, _VAL, _TEST = "train2014", "val2014", "test2015"
# LXMERT divided val into nominival and minival, and trains on the first.
_NOMINIVAL = "vqa/nominival", "vqa2/imdb_valminusminival2014"
_MINIVAL = "vqa/minival", "vqa2/imdb_minival2014"

VQA2 = Catalogue(
    name="vqa2",
    pages=("https://visualqa.org/download.html", "https://cocodataset.org/#download"),
    splits={
        "train": _vqa(443_757, 82_783, _TRAIN, "vqa/train", "vqa2/imdb_train2014"),
        "val": _vqa(214_354, 40_504, _VAL, "", "vqa2/imdb_val2014"),
        "nominival": _vqa(188_360, 35_504, _VAL, *_NOMINIVAL, part_of="val"),
        "minival": _vqa(25_994, 5_000, _VAL, *_MINIVAL, part_of="val"),
        "test": _vqa(447_793, 81_434, _TEST, "vqa/test", "vqa2/imdb_test2015", labelled=False),
        "test-dev": _vqa(107_394, None, _TEST, name="test-dev2015", labelled=False),
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
    rows="vqa",
)

GQA = Catalogue(
    name="gqa",
    pages=("https://cs.stanford.edu/people/dorarad/gqa/download.html",),
    splits={
        "train": _gqa(
            943_000, 72_140, "train_balanced", "gqa/train", "gqa/train_balanced_questions"
        ),
        "val": _gqa(132_062, 10_234, "val_balanced", "gqa/valid", "gqa/val_balanced_questions"),
        "testdev": _gqa(12_578, 398, "testdev_balanced", "gqa/testdev"),
        "submission": _gqa(None, None, "submission_all", "gqa/submit", labelled=False),
    },
    aliases={"valid": "val", "submit": "submission", "test-dev": "testdev"},
    default_splits=("train", "val", "testdev"),
    image_archives={"images": f"{_GQA_ZIPS}/images.zip"},
    image_root="images",
    answers=DataFile("trainval_label2ans.json", f"{_LXMERT_CODE}/gqa/trainval_label2ans.json"),
    min_count=1,
    rows="gqa",
)

_OKVQA_ZIPS = "https://okvqa.allenai.org/static/data"
_AOKVQA_ZIP = "https://prior-datasets.s3.us-east-2.amazonaws.com/aokvqa/aokvqa_v1p0.tar.gz"
_VIZWIZ_ZIPS = "https://vizwiz.cs.colorado.edu/VizWiz_final"
_GENOME_FILES = "https://homes.cs.washington.edu/~ranjay/visualgenome/data/dataset"
_GENOME_ZIPS = "https://cs.stanford.edu/people/rak248/VG_100K_2"
_TEXTVQA_FILES = "https://dl.fbaipublicfiles.com/textvqa"


def _okvqa(questions: int, images: int, folder: str) -> Split:
    names = (f"OpenEnded_mscoco_{folder}_questions.json", f"mscoco_{folder}_annotations.json")
    files = tuple(DataFile(name, f"{_OKVQA_ZIPS}/{name}.zip") for name in names)
    return _split(questions, images, folder, files)


def _one_file(
    questions: int | None, images: int | None, folder: str, name: str, url: str, **options: Any
) -> Split:
    return _split(questions, images, folder, (DataFile(name, url),), **options)


def _aokvqa(name: str, **options: Any) -> Split:
    """A split of A-OKVQA, whose paper rounds the numbers of questions (17.1, 1.1, 6.7 thousand)."""
    file = f"aokvqa_v1p0_{name}.json"
    return _one_file(None, None, f"{name}2017", file, _AOKVQA_ZIP, **options)


def _vizwiz(questions: int, name: str, **options: Any) -> Split:
    url = f"{_VIZWIZ_ZIPS}/vqa_data/Annotations.zip"
    return _one_file(questions, questions, name, f"{name}.json", url, **options)


def _textvqa(questions: int, images: int, folder: str, name: str, **options: Any) -> Split:
    file = f"TextVQA_0.5.1_{name}.json"
    return _one_file(questions, images, folder, file, f"{_TEXTVQA_FILES}/data/{file}", **options)


OKVQA = Catalogue(
    name="okvqa",
    pages=("https://okvqa.allenai.org", "https://cocodataset.org/#download"),
    splits={"train": _okvqa(9_009, 8_998, _TRAIN), "val": _okvqa(5_046, 5_033, _VAL)},
    aliases={"train2014": "train", "val2014": "val", "test": "val"},
    default_splits=("train", "val"),
    image_archives={name: f"{_COCO_ZIPS}/{name}.zip" for name in (_TRAIN, _VAL)},
    image_root="",
    answers=None,
    min_count=2,
)

AOKVQA = Catalogue(
    name="aokvqa",
    pages=("https://aokvqa.allenai.org", "https://cocodataset.org/#download"),
    splits={
        "train": _aokvqa("train"),
        "val": _aokvqa("val"),
        "test": _aokvqa("test", labelled=False),
    },
    aliases={},
    default_splits=("train", "val", "test"),
    image_archives={
        f"{name}2017": f"{_COCO_ZIPS}/{name}2017.zip" for name in ("train", "val", "test")
    },
    image_root="",
    answers=None,
    min_count=2,
    rows="aokvqa",
)

VIZWIZ = Catalogue(
    name="vizwiz",
    pages=("https://vizwiz.org/tasks-and-datasets/vqa/",),
    splits={
        "train": _vizwiz(20_523, "train"),
        "val": _vizwiz(4_319, "val"),
        "test": _vizwiz(8_000, "test", labelled=False),
    },
    aliases={},
    default_splits=("train", "val", "test"),
    image_archives={name: f"{_VIZWIZ_ZIPS}/images/{name}.zip" for name in ("train", "val", "test")},
    image_root="",
    answers=None,
    min_count=2,
    rows="vizwiz",
    folders=("", "annotations", "Annotations"),
)

VISUAL_GENOME = Catalogue(
    name="visual_genome",
    pages=("https://homes.cs.washington.edu/~ranjay/visualgenome/api.html",),
    splits={
        "all": _one_file(
            *(None, None, "images", "question_answers.json"),
            f"{_GENOME_FILES}/question_answers.json.zip",
        )
    },
    aliases={},
    default_splits=("all",),
    image_archives={"images": f"{_GENOME_ZIPS}/images.zip and {_GENOME_ZIPS}/images2.zip"},
    image_root="images",
    answers=None,
    min_count=9,
)

TEXTVQA = Catalogue(
    name="textvqa",
    pages=("https://textvqa.org/dataset/",),
    splits={
        "train": _textvqa(34_602, 21_953, "train_images", "train"),
        "val": _textvqa(5_000, 3_166, "train_images", "val"),
        "test": _textvqa(5_734, 3_289, "test_images", "test", labelled=False),
    },
    aliases={},
    default_splits=("train", "val", "test"),
    image_archives={
        "train_images": f"{_TEXTVQA_FILES}/images/train_val_images.zip",
        "test_images": f"{_TEXTVQA_FILES}/images/test_images.zip",
    },
    image_root="",
    answers=None,
    min_count=2,
    rows="vqa",
)


def _snli_ve(count: int, images: int, name: str) -> Split:
    """A split of SNLI-VE; UNITER's release of it is two files of a folder."""
    database, url = f"ve_{name}.db", f"{_UNITER_FILES}/ve_{name}.db.tar"
    releases = {
        OFFICIAL: (DataFile(f"snli_ve_{name}.jsonl", _SNLI_VE_PAGE),),
        UNITER: tuple(DataFile(f"{database}/{file}", url) for file in ("data.mdb", "id2len.json")),
    }
    return Split(count, images, "flickr30k_images", releases)


def _nlvr2(count: int, name: str, lxmert: str = "") -> Split:
    file = DataFile(f"{name}.json", f"{_NLVR2_FILES}/{name}.json")
    return _split(count, None, "images", (file,), lxmert)


SNLI_VE = Catalogue(
    name="snli_ve",
    pages=(_SNLI_VE_PAGE, _FLICKR_PAGE),
    splits={
        "train": _snli_ve(529_527, 29_783, "train"),
        "dev": _snli_ve(17_858, 1_000, "dev"),
        "test": _snli_ve(17_901, 1_000, "test"),
    },
    aliases={"valid": "dev", "val": "dev"},
    default_splits=("train", "dev", "test"),
    image_archives={"flickr30k_images": _FLICKR_PAGE},
    image_root="flickr30k_images",
    answers=None,
    rows="snli_ve",
)

NLVR2 = Catalogue(
    name="nlvr2",
    pages=(_NLVR2_PAGE,),
    splits={
        "train": _nlvr2(86_373, "train", "nlvr2/train"),
        "dev": _nlvr2(6_982, "dev", "nlvr2/valid"),
        "test1": _nlvr2(6_967, "test1", "nlvr2/test"),
        "test2": _nlvr2(6_970, "test2"),
    },
    aliases={"valid": "dev", "val": "dev", "test": "test1"},
    default_splits=("train", "dev", "test1"),
    image_archives={"images": _NLVR2_PAGE},
    image_root="images",
    answers=None,
    rows="nlvr2",
)

PRETRAINING = Catalogue(
    name="pretraining",
    pages=(
        "https://github.com/airsplay/lxmert",
        "https://cocodataset.org/#download",
        "https://homes.cs.washington.edu/~ranjay/visualgenome/api.html",
    ),
    splits={
        name: _split(None, None, folder, lxmert=f"lxmert/{name}")
        for name, folder in {
            "mscoco_train": _TRAIN,
            "mscoco_nominival": _VAL,
            "mscoco_minival": _VAL,
            "vgnococo": "VG_100K",
        }.items()
    },
    aliases={},
    default_splits=("mscoco_train", "mscoco_nominival", "vgnococo", "mscoco_minival"),
    image_archives={
        **{name: f"{_COCO_ZIPS}/{name}.zip" for name in (_TRAIN, _VAL)},
        # Two archives, whose images belong into one folder.
        "VG_100K": f"{_GENOME_ZIPS}/images.zip {_GENOME_ZIPS}/images2.zip",
    },
    image_root="",
    answers=DataFile("all_ans.json", f"{_LXMERT_CODE}/lxmert/all_ans.json"),
    min_count=1,
    recipe="pretrain_stage1",
)

CATALOGUES: Mapping[str, Catalogue] = {
    known.name: known
    for known in (
        *(VQA2, GQA, SNLI_VE, NLVR2, PRETRAINING),
        *(OKVQA, AOKVQA, VIZWIZ, VISUAL_GENOME, TEXTVQA),
    )
}
