"""The pre-training network: names, the tie, both fusions, all that learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clipvil_mmf.config import ConfigError
from clipvil_mmf.loss_functions import NO_CLASS, class_cross_entropy
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.pretraining import PretrainingNetwork
from tests.golden.compare import TINY
from tests.golden.lxmert import TINY_LXMERT
from tests.golden.pretrain import load, pretraining_inputs

CROSS_MODAL = {**TINY, "fusion": TINY_LXMERT["fusion"]}


def test_it_is_the_network_with_heads_beside_it() -> None:
    added = set(PretrainingNetwork.from_config(**TINY).state_dict())
    added -= set(ClipVilNetwork.from_config(**TINY).state_dict())
    assert {name.split(".")[0] for name in added} == {"pretraining"} and len(added) == 7


def test_masked_words_move_the_word_embeddings() -> None:
    """Also the row of [PAD], which the lookup leaves alone: the scores compare with every row."""
    network, golden = load()
    losses = network(**pretraining_inputs(golden)).losses
    losses.masked_words.backward()
    assert network.fusion.embeddings.word.weight.grad[0].abs().sum() > 0


@pytest.mark.parametrize("sections", [TINY, CROSS_MODAL], ids=["joint", "cross_modal"])
def test_every_parameter_learns(sections: dict[str, Any]) -> None:
    network = PretrainingNetwork.from_config(**sections)
    output = network(**pretraining_inputs(load()[1]))
    assert output.scores.shape == (3, 13)
    output.losses.total.backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is not None) is parameter.requires_grad, name


def test_masked_positions_alone_are_scored() -> None:
    network, golden = load()
    batch = pretraining_inputs(golden)
    scored = []
    head = network.pretraining.transform
    head.register_forward_hook(lambda module, args, output: scored.append(len(args[0])))
    network(**batch)
    assert scored == [int((batch["word_labels"] != NO_CLASS).sum())]


def test_without_labels_the_losses_are_zero() -> None:
    """A mean over nothing would be NaN; every parameter still takes part in the backward."""
    network, golden = load()
    batch = pretraining_inputs(golden)
    for name in ("word_labels", "matching_labels", "answer_labels"):
        batch[name] = torch.full_like(batch[name], NO_CLASS)
    output = network(**batch)
    assert [loss.item() for loss in output.losses] == [0, 0, 0]
    assert not output.correct.any() and not output.counted.any()
    output.losses.total.backward()
    assert all(p.grad is not None and not p.grad.any() for p in network.parameters())


def test_what_is_right_is_counted() -> None:
    network, golden = load()
    batch = pretraining_inputs(golden)
    output = network(**batch)
    counted = [(batch["word_labels"] >= 0).sum(1), torch.ones(3), (batch["answer_labels"] >= 0)]
    assert torch.equal(output.counted, torch.stack([column.float() for column in counted], 1))
    answers = output.scores.argmax(1) == batch["answer_labels"]
    assert torch.equal(output.correct[:, 2], answers.float())
    assert (output.correct <= output.counted).all() and output.correct[:, 1].any()


def test_without_answers_there_is_no_head() -> None:
    network, golden = load(answers=False)
    output = network(**pretraining_inputs(golden))
    assert output.scores.shape == (3, 0) and output.losses.answers == 0
    assert not any(name.startswith("classifier.") for name in network.state_dict())
    assert not output.counted[:, 2].any()


def test_a_tuning_method_is_refused() -> None:
    tuning = {"method": "lora", "params": {}}
    with pytest.raises(ConfigError, match=r"clipvil\.tuning\.method: got lora.*expected full"):
        PretrainingNetwork.from_config(**TINY, tuning=tuning)
    PretrainingNetwork.from_config(**TINY, tuning={"method": "full"})


def test_without_an_answer_head_there_is_no_cross_entropy_over_no_class(monkeypatch) -> None:
    """Which eager torch computes, and code that inductor writes does not."""
    network = PretrainingNetwork.from_config(**{**TINY, "num_labels": 0})
    classes = []

    def cross_entropy(scores, labels):
        classes.append(scores.shape[1])
        return class_cross_entropy(scores, labels)

    monkeypatch.setattr("clipvil_mmf.pretraining.class_cross_entropy", cross_entropy)
    losses = network(**pretraining_inputs(load()[1])).losses
    losses.total.backward()
    assert len(classes) == 2 and min(classes) > 0 and losses.answers == 0
