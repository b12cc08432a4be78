"""What each task makes of labels and scores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clipvil_mmf.config import ConfigError
from clipvil_mmf.tasks import CLASSES, SOFT, TASKS, aokvqa, build_task

# Sample 0 has the labels 2 (the main one) and 1, sample 2 the label 0, sample 1 none.
PAIRS = SimpleNamespace(
    positions=np.array([0, 0, 2]), rows=np.array([2, 1, 0]), scores=np.float32([1, 0.3, 0.9])
)
LABELS = ["a", "b", "c"]
SCORES = torch.tensor([[0.1, 2.0, -1.0], [0.0, 0.0, 1.0], [3.0, 0.0, 0.0]])


@pytest.mark.parametrize("name", ["vqa", "gqa"])
def test_answers_are_scored_one_by_one(name: str) -> None:
    task = build_task(name)
    targets = torch.from_numpy(task.targets(PAIRS, 3, 3))
    torch.testing.assert_close(
        targets, torch.tensor([[0, 0.3, 1], [0, 0, 0], [0.9, 0, 0]]), check_dtype=True
    )
    expected = F.binary_cross_entropy_with_logits(SCORES, targets, reduction="sum") / 3
    torch.testing.assert_close(task.loss(SCORES, targets), expected)
    assert torch.equal(task.probabilities(SCORES), SCORES.sigmoid())


def test_a_class_is_the_main_label() -> None:
    task = build_task("entailment")
    targets = torch.from_numpy(task.targets(PAIRS, 3, 3))
    assert targets.tolist() == [2, -1, 0] and targets.dtype == torch.int64
    expected = F.cross_entropy(SCORES[[0, 2]], targets[[0, 2]])
    torch.testing.assert_close(task.loss(SCORES, targets), expected)
    torch.testing.assert_close(task.probabilities(SCORES).sum(1), torch.ones(3))


def test_samples_without_a_class_add_nothing_to_the_loss() -> None:
    scores = SCORES.clone().requires_grad_()
    loss = build_task("entailment").loss(scores, torch.full((3,), -1))
    loss.backward()
    assert loss == 0 and not scores.grad.any()


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("vqa", {"question_id": 7, "answer": "b"}),
        ("gqa", {"questionId": 7, "prediction": "b"}),
        ("entailment", {"id": 7, "label": "b"}),
        ("vizwiz", {"image": 7, "answer": "b"}),
        ("snli_ve", {"id": 7, "label": "b"}),
        ("nlvr2", {"identifier": 7, "prediction": "b"}),
    ],
)
def test_rows(name: str, row: dict[str, object]) -> None:
    rows = build_task(name).prediction_rows([7, "x"], SCORES[:2].bfloat16(), LABELS)
    assert rows[0] == row
    assert list(rows[1].values()) == ["x", "c"]


def test_aokvqa_takes_the_best_choice_among_the_labels(caplog: pytest.LogCaptureFixture) -> None:
    task = build_task("aokvqa")
    choices = [("c", "x", "a"), ("x", "y")]
    rows = task.prediction_rows(["p", "q"], SCORES[:2].bfloat16(), LABELS, choices)
    assert rows[0] == {"question_id": "p", "direct_answer": "b", "multiple_choice": "a"}
    assert task.prediction_file(rows) == {
        "p": {"direct_answer": "b", "multiple_choice": "a"},
        "q": {"direct_answer": "c", "multiple_choice": "x"},
    }
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith("1 questions have no choice that is among the model's answers; for 1")
    assert "task.params.word_vectors=glove.6B.300d" in message


def test_aokvqa_takes_the_choice_nearest_to_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By the cosine of mean vectors, where no choice is a label; a label goes before."""
    file = tmp_path / "vectors.txt"
    file.write_text("b 1 0.2\ncar 0 9\nred 0 1\ntrain 3 1\nc -1 0\n")
    monkeypatch.setattr(aokvqa, "_cache_dir", lambda: str(tmp_path))
    task = build_task({"type": "aokvqa", "params": {"word_vectors": str(file)}})
    choices = [("red car", "red Train", "zzz"), ("zzz", "yyy")]
    rows = task.prediction_rows(["p", "q"], SCORES[:2], LABELS, choices)
    assert rows[0] == {"question_id": "p", "direct_answer": "b", "multiple_choice": "red Train"}
    assert rows[1]["multiple_choice"] == "zzz"  # no choice has a vector: the first
    (row,) = task.prediction_rows(["r"], SCORES[:1], LABELS, [("red train", "a")])
    assert row["multiple_choice"] == "a"
    task.prediction_file(rows)
    (record,) = caplog.records
    assert record.getMessage().startswith("2 questions have no choice")
    assert record.getMessage().endswith("for 1 of them the first one is written")
    missing = build_task({"type": "aokvqa", "params": {"word_vectors": "no.such"}})
    with pytest.raises(FileNotFoundError, match=r"no\.such: there is neither a file of this name"):
        missing.prediction_rows(["p"], SCORES[:1], LABELS, [("a",)])


def test_vizwiz_says_how_likely_an_answer_is() -> None:
    """1 - the probability of the answer "unanswerable"."""
    task = build_task({"type": "vizwiz", "params": {"predicts": "answerability"}})
    rows = task.prediction_rows(["a.jpg", "b.jpg"], SCORES[:2], ["can", "unanswerable", "no"])
    assert [list(row) for row in rows] == [["image", "answerable"]] * 2
    chances = [1 - float(torch.sigmoid(torch.tensor(score))) for score in (2.0, 0.0)]
    assert [row["answerable"] for row in rows] == pytest.approx(chances)
    with pytest.raises(ConfigError, match=r"predicts: answerability, but 'unanswerable' is not"):
        task.prediction_rows(["a.jpg"], SCORES[:1], LABELS)


def test_labels_are_ordered_by_the_task() -> None:
    assert build_task("vqa").order_labels(["no", "a"]) == ["no", "a"]
    assert build_task("entailment").order_labels(["no", "a"]) == ["a", "no"]


def test_the_order_of_published_classes() -> None:
    """Row 0 first, as UNITER's table and LXMERT's conversion have them."""
    assert build_task("snli_ve").labels == ["contradiction", "entailment", "neutral"]
    assert build_task("nlvr2").labels == ["False", "True"]


@pytest.mark.parametrize(("pairing", "passes"), [("side_by_side", 1), ("two_passes", 2)])
def test_pairings(pairing: str, passes: int) -> None:
    task = build_task({"type": "nlvr2", "params": {"pairing": pairing}})
    assert (task.images_per_sample, task.passes, task.joins_images) == (2, passes, passes == 1)
    assert (task == build_task("nlvr2")) == (passes == 1)
    assert build_task("snli_ve").passes == 1


def test_one_class_is_nothing_to_choose_from() -> None:
    with pytest.raises(ConfigError, match=r"1 classes \(no\).*task\.params\.labels"):
        build_task("entailment").order_labels(["no"])


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("entailmnt", r"here\.type: unknown value 'entailmnt'\. Did you mean 'entailment'"),
        (
            {"params": {}},
            r"here\.type: missing\. Choices: vqa, gqa, entailment, aokvqa, vizwiz, snli_ve, nlvr2",
        ),
        ({"type": "vqa", "params": {"labels": ["a"]}}, r"here\.params\.labels: unknown key"),
        ({"type": "entailment", "parms": {}}, r"here\.parms: unknown key\. Did you mean 'params'"),
        ({"type": "entailment", "params": {"labels": ["a"]}}, r"labels: got 1 of them.*two"),
        ({"type": "entailment", "params": {"labels": ["a", "a"]}}, r"labels: got 'a' twice"),
        (
            {"type": "vizwiz", "params": {"predicts": "answer"}},
            r"here\.params\.predicts: unknown value 'answer'.*Choices: answers, answerability",
        ),
        (
            {"type": "nlvr2", "params": {"pairing": "side"}},
            r"here\.params\.pairing: unknown value 'side'.*Choices: side_by_side, two_passes",
        ),
    ],
)
def test_a_bad_section_is_one_clear_error(section: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_task(section, "here")


def test_tasks_are_equal_where_their_params_are() -> None:
    named = {"type": "entailment", "params": {"labels": ["a", "b"]}}
    assert build_task("vqa") == build_task({"type": "vqa"}) != build_task("gqa")
    assert build_task("entailment") != build_task(named) == build_task(dict(named))


@pytest.mark.parametrize("name", TASKS)
def test_a_task_fits_its_own_loss_and_metric(name: str) -> None:
    task = build_task(name)
    assert task.target_kind in (SOFT, CLASSES)
    task.check_losses([task.default_loss, "a_loss_of_a_plugin"], "losses")
    task.check_metrics([task.default_metric, "accuracy"], "metrics")


def test_tasks_need_neither_torch_nor_mmf() -> None:
    code = (
        "import sys, clipvil_mmf.tasks;"
        "print([m for m in ('torch', 'mmf', 'omegaconf') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_pretraining_has_a_head_where_it_trains_answers() -> None:
    task = build_task("pretraining")
    assert task.pretrains and task.has_head and task.target_kind == CLASSES
    assert task.targets(PAIRS, 3, 3).tolist() == [2, -1, 0]
    without = build_task({"type": "pretraining", "params": {"answers": False}})
    assert not without.has_head
    with pytest.raises(ConfigError, match="answers: false, so that there is nothing to predict"):
        without.prediction_rows([1], torch.zeros(1, 0), LABELS)
    assert task.prediction_rows([1], SCORES[:1], LABELS) == [{"sentence_id": 1, "answer": "b"}]
    for key in ("mask_rate", "mismatch_rate"):
        with pytest.raises(ConfigError, match=f"{key}: got 1.5"):
            build_task({"type": "pretraining", "params": {key: 1.5}})
