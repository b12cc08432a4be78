"""Fisher information of a backbone's weights, and the ladder that begins with it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from clipvil_mmf.loss_functions import scaled_bce
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.tuning import fisher
from clipvil_mmf.tuning.fisher import Sample, fisher_information
from tests.golden.compare import TINY
from tests.tuning.test_methods import batch, build, section


def samples() -> Iterator[Sample]:
    inputs = batch()
    targets = torch.rand(3, 13, generator=torch.Generator().manual_seed(2))
    for row in range(3):
        image = inputs["images"][inputs["image_index"][row : row + 1]]
        names = ("input_ids", "input_mask", "segment_ids")
        texts = (inputs[name][row : row + 1] for name in names)
        index = torch.zeros(1, dtype=torch.long)
        yield Sample(
            image, index, *texts, targets[row : row + 1], partial(scaled_bce, loss_scale=1)
        )


def weights(network: ClipVilNetwork) -> list[torch.nn.Parameter]:
    layer = network.fusion.layers[1]
    return [network.fusion.embeddings.word.weight, layer.attention.key.weight]


@pytest.mark.parametrize("count", [2, 5])
def test_it_is_the_sum_of_squared_gradients(count: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    network = build("ladder").eval()
    found = fisher_information(network, weights(network), samples(), count)
    assert f"the answers to {min(count, 3)} questions" in caplog.text
    assert not any(weight.requires_grad for weight in weights(network))

    plain = ClipVilNetwork.from_config(**TINY).eval()
    backbone = network.state_dict()
    plain.load_state_dict({name: backbone[name] for name in plain.state_dict()})
    expected = [torch.zeros_like(weight) for weight in weights(plain)]
    for *inputs, targets, _ in list(samples())[:count]:
        plain.zero_grad()
        scores = plain(*inputs).scores
        F.binary_cross_entropy_with_logits(scores, targets, reduction="sum").backward()
        for total, weight in zip(expected, weights(plain), strict=True):
            total += weight.grad**2
    for weight, total in zip(weights(network), expected, strict=True):
        assert total.any()
        torch.testing.assert_close(found[weight], total, rtol=1e-4, atol=1e-10)


def test_processes_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build("ladder").eval()
    alone = fisher_information(network, weights(network), samples(), 2)
    monkeypatch.setattr(fisher, "_rank_and_processes", lambda: (0, 2))
    monkeypatch.setattr(fisher.dist, "all_reduce", lambda total: total.mul_(2))
    both = fisher_information(network, weights(network), samples(), 4)
    assert all(torch.equal(both[weight], 2 * alone[weight]) for weight in alone)


def test_no_sample_is_an_error() -> None:
    network = build("ladder").eval()
    with pytest.raises(ValueError, match=r"fisher needs samples, but the train split gives none"):
        fisher_information(network, weights(network), iter(()), 3)
    assert not any(weight.requires_grad for weight in weights(network))


def test_a_ladder_keeps_what_matters_to_the_answers() -> None:
    network = build("ladder", initialization="fisher").eval()
    ladder, wide = network.tuning, network.fusion.layers[0].attention
    before = ladder.blocks[0].attention.query.weight.clone()
    ladder.start_from(network)
    assert ladder.samples_wanted == 1024
    assert torch.equal(ladder.blocks[0].attention.query.weight, before)

    ladder.start_from_samples(network, samples())
    projections = [wide.query.weight, wide.key.weight, wide.value.weight]
    words = network.fusion.embeddings.word.weight
    found = fisher_information(network, [words, *projections], samples(), 3)
    channels = found[words].sum(0).topk(ladder.reduced_width).indices.sort().values
    strength = sum(found[weight][:, channels] for weight in projections).sum(1)
    heads = strength.view(wide.num_heads, -1)
    kept = heads.topk(heads.shape[1] // 2).indices.sort().values
    rows = (kept + torch.arange(wide.num_heads)[:, None] * heads.shape[1]).flatten()
    begun = ladder.blocks[0].attention.query.weight
    assert torch.equal(begun, wide.query.weight[rows][:, channels])
    by_size = build("ladder", initialization="magnitude")
    by_size.tuning.start_from(by_size)
    assert not torch.equal(begun, by_size.tuning.blocks[0].attention.query.weight)


def test_other_methods_want_no_samples() -> None:
    for method in ("unipt", "lora", "full"):
        network = ClipVilNetwork.from_config(**TINY, tuning=section(method))
        network.tuning.start_from(network)
        assert network.tuning.samples_wanted == 0
