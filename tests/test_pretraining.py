"""The pre-training network: names, the tie, both fusions, all that learns."""

from __future__ import annotations

from typing import Any

import pytest

from clipvil_mmf.config import ConfigError
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
    losses, _ = network(**pretraining_inputs(golden))
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


def test_a_tuning_method_is_refused() -> None:
    tuning = {"method": "lora", "params": {}}
    with pytest.raises(ConfigError, match=r"clipvil\.tuning\.method: got lora.*expected full"):
        PretrainingNetwork.from_config(**TINY, tuning=tuning)
    PretrainingNetwork.from_config(**TINY, tuning={"method": "full"})
