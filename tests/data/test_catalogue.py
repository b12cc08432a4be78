from __future__ import annotations

import re
from pathlib import Path

import pytest

from clipvil_mmf.data.catalogue import (
    CATALOGUES,
    GQA,
    NLVR2,
    OKVQA,
    SNLI_VE,
    TEXTVQA,
    VIZWIZ,
    VQA2,
    CatalogueError,
    catalogue,
    find_split,
)

FIXTURES = Path(__file__).parents[1] / "fixtures"


def test_known_sizes():
    """As published: visualqa.org/download.html, the LXMERT splits, GQA's balanced questions."""
    vqa = {name: (split.questions, split.images) for name, split in VQA2.splits.items()}
    assert vqa["train"] == (443_757, 82_783)
    assert vqa["val"] == (214_354, 40_504)
    assert vqa["test"] == (447_793, 81_434)
    assert vqa["test-dev"] == (107_394, None)
    # LXMERT divided val in two.
    assert tuple(a + b for a, b in zip(vqa["nominival"], vqa["minival"], strict=True)) == vqa["val"]
    gqa = {name: split.questions for name, split in GQA.splits.items()}
    assert gqa == {"train": 943_000, "val": 132_062, "testdev": 12_578, "submission": None}
    # The three labels of its README: entailment, neutral, contradiction.
    assert {name: split.questions for name, split in SNLI_VE.splits.items()} == {
        "train": 176_932 + 176_045 + 176_550,
        "dev": 5_959 + 5_960 + 5_939,
        "test": 5_973 + 5_964 + 5_964,
    }
    # arXiv 1811.00491.
    assert sum(split.questions for split in NLVR2.splits.values()) == 107_292
    # arXiv 1904.08920; arXiv 1906.00067.
    for known, totals in ((TEXTVQA, (45_336, 28_408)), (OKVQA, (14_055, 14_031))):
        sizes = [(split.questions, split.images) for split in known.splits.values()]
        assert tuple(map(sum, zip(*sizes, strict=True))) == totals
    # vizwiz.org/tasks-and-datasets/vqa.
    assert [split.questions for split in VIZWIZ.splits.values()] == [20_523, 4_319, 8_000]


def test_every_file_has_an_address_and_every_split_its_images():
    for known in CATALOGUES.values():
        for split in known.splits.values():
            assert split.image_folder in known.image_archives
            for release in split.releases.values():
                assert all(
                    re.match(r"https?://.+\.(zip|json|tar|tar\.gz)$", f.url) or f.url in known.pages
                    for f in release
                )
        assert set(known.default_splits) <= set(known.splits)
        assert set(known.aliases.values()) <= set(known.splits)


@pytest.mark.parametrize(
    ("dataset", "split", "files"),
    [
        ("vqa2", "train", ["v2_OpenEnded_mscoco_train2014_questions", "v2_mscoco_train2014_annot"]),
        ("vqa2", "train2014", ["v2_OpenEnded_mscoco_train2014_q", "v2_mscoco_train2014_annot"]),
        ("vqa2", "minival", ["minival.json"]),
        ("vqa2", "test", ["v2_OpenEnded_mscoco_test2015_questions"]),
        ("gqa", "valid", ["val_balanced_questions.json"]),
        ("gqa", "submit", ["submission_all_questions.json"]),
    ],
)
def test_files_of_a_split(dataset, split, files):
    found = find_split(dataset, split, FIXTURES / dataset)
    assert len(found) == len(files)
    assert all(path.name.startswith(name) for path, name in zip(found, files, strict=True))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("train.json", ["train.json"]),
        ("lxmert/train.json", ["train.json"]),
        ("defaults/annotations/imdb_train2014.npy", ["imdb_train2014.npy"]),
        # Questions without their annotations are not a complete format.
        ("v2_OpenEnded_mscoco_train2014_questions.json", None),
    ],
)
def test_the_first_complete_format_counts(tmp_path, name, found):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    if found:
        assert [path.name for path in find_split("vqa2", "train", tmp_path)] == found
        return
    with pytest.raises(CatalogueError, match=r"v2_mscoco_train2014_annotations\.json") as caught:
        find_split("vqa2", "train", tmp_path)
    assert "OpenEnded_mscoco_train2014_questions" not in str(caught.value)  # it is there
    assert "https://nlp.cs.unc.edu/data/lxmert_data/vqa/train.json" in str(caught.value)


def test_unknown_names():
    with pytest.raises(CatalogueError, match="no dataset 'vqa'; expected one of vqa2, gqa"):
        catalogue("vqa")
    with pytest.raises(CatalogueError, match=r"no split 'test_dev2'.*Did you mean 'test-dev'"):
        VQA2.split("test_dev2")
