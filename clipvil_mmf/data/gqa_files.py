"""The files of GQA, by the published names of its splits.

``train``, ``valid`` and ``testdev`` are the balanced questions; ``submission`` is all that the
leaderboard wants answered. For a name with files in several formats LXMERT's come first;
``train_balanced``, ``val_balanced``, ``testdev_balanced`` and ``submission_all`` always mean the
official ones.
"""

from __future__ import annotations

from clipvil_mmf.data.split_files import SplitFiles

_SITE = "Fetch it from https://cs.stanford.edu/people/dorarad/gqa/download.html"


def _official(name: str) -> tuple[str, ...]:
    return (f"{name}_questions.json",)


FILES = SplitFiles(
    names={
        "train": (
            ("train.json",),
            _official("train_balanced"),
            ("train_balanced_questions.npy",),
        ),
        "valid": (("valid.json",), _official("val_balanced"), ("val_balanced_questions.npy",)),
        "testdev": (
            ("testdev.json",),
            _official("testdev_balanced"),
            ("testdev_balanced_questions.npy",),
        ),
        "test": (("test.json",), _official("test_balanced"), ("test_balanced_questions.npy",)),
        "submission": (("submission.json",), ("submit.json",), _official("submission_all")),
        **{
            name: (_official(name),)
            for name in ("train_balanced", "val_balanced", "testdev_balanced", "submission_all")
        },
    },
    advice={
        "train": _SITE,
        "valid": _SITE,
        "testdev": _SITE,
        "test": _SITE,
        "submission": f"{_SITE}, or go without: dataset_config.gqa.annotations.test=none",
    },
    vocabularies=(
        "trainval_label2ans.json",
        "defaults/extras/vocabs/answers_gqa.txt",
        "defaults/vocabs/answers_gqa.txt",
    ),
)
