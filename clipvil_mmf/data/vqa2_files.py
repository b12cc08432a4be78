"""The files of VQA v2, by the published names of its splits.

``train`` is train2014; ``nominival`` and ``minival`` are LXMERT's two parts of val2014, ``val`` is
all of it; ``test`` is test2015, and ``test-dev`` the part of it that the leaderboard scores at
once. For a name with files in several formats LXMERT's come first, as in the published recipe;
``train2014``, ``val2014``, ``test2015`` and ``test-dev2015`` always mean the official ones.
"""

from __future__ import annotations

from clipvil_mmf.data.split_files import SplitFiles


def _official(subset: str, annotated: bool) -> tuple[str, ...]:
    questions = f"v2_OpenEnded_mscoco_{subset}_questions.json"
    return (questions, f"v2_mscoco_{subset}_annotations.json") if annotated else (questions,)


_TRAIN, _VAL = _official("train2014", True), _official("val2014", True)
_TEST, _TEST_DEV = _official("test2015", False), _official("test-dev2015", False)
_SITE = "Fetch it from https://visualqa.org/download.html"
_PARTS = (
    "minival and nominival are LXMERT's two parts of val2014, made for its recipe: fetch "
    "https://nlp.cs.unc.edu/data/lxmert_data/vqa/{}.json, or use the official split: "
    "dataset_config.vqa2.annotations.train=train dataset_config.vqa2.annotations.val=val"
)

FILES = SplitFiles(
    names={
        "train": (("train.json",), _TRAIN, ("imdb_train2014.npy",)),
        "nominival": (("nominival.json",), ("imdb_nominival2014.npy",)),
        "minival": (("minival.json",), ("imdb_minival2014.npy",)),
        "val": (("val.json",), _VAL, ("imdb_val2014.npy",)),
        "test": (("test.json",), _TEST, ("imdb_test2015.npy",)),
        "test-dev": (_TEST_DEV,),
        "train2014": (_TRAIN,),
        "val2014": (_VAL,),
        "test2015": (_TEST,),
        "test-dev2015": (_TEST_DEV,),
    },
    advice={
        "train": _SITE,
        "nominival": _PARTS.format("nominival"),
        "minival": _PARTS.format("minival"),
        "val": _SITE,
        "test": f"{_SITE}, or go without: dataset_config.vqa2.annotations.test=none",
        "test-dev": _SITE,
        "train2014": _SITE,
        "val2014": _SITE,
        "test2015": _SITE,
        "test-dev2015": _SITE,
    },
    vocabularies=("trainval_label2ans.json", "defaults/extras/vocabs/answers_vqa.txt"),
)
