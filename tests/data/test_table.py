"""Tables of questions in other processes, and parts that do not fit together."""

import multiprocessing
from pathlib import Path

import pytest

from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.store import open_or_convert
from clipvil_mmf.data.table import QuestionTable

FIXTURES = Path(__file__).parents[1] / "fixtures"


def _questions(table, results):
    results.put(list(table))


def test_a_spawned_process_opens_the_same_questions(tmp_path):
    names = ("train", "minival")
    tables = [open_or_convert([FIXTURES / "vqa2" / f"{n}.json"], tmp_path / n) for n in names]
    both = QuestionTable.concatenate(tables)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_questions, args=(both, results))
    process.start()
    assert results.get(timeout=60) == list(both)
    process.join()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("vqa2/test.json", "one has answers, the other has not"),
        ("gqa/train.json", "the first one the int id"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path, other, message):
    train = open_or_convert([FIXTURES / "vqa2" / "train.json"], tmp_path / "train")
    with pytest.raises(AnnotationError, match=message):
        QuestionTable.concatenate([train, open_or_convert([FIXTURES / other], tmp_path / "other")])
