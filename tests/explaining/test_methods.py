"""What the methods compute, against their papers' formulas on attention that is spelled out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clipvil_mmf.explaining import METHODS, ExplainError, forward_pass
from clipvil_mmf.layers.transformer import Attention
from tests.explaining.asked import CROSS_MODAL, PHOTO, QUESTION, asked

FUSIONS = {"joint": {}, "cross_modal": CROSS_MODAL}


def spelled_out(model, monkeypatch, row: int = 3) -> tuple[list[Tensor], list[Tensor], int]:
    """Each call's probabilities (H, L, S), the gradients of a score by them, and T."""
    kept = []

    def attend(self, query, key, value, bias):
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        kept.append(torch.softmax(scores if bias is None else scores + bias, dim=-1))
        return kept[-1] @ value

    seen, texts = model.look(PHOTO), model.texts(QUESTION)
    with monkeypatch.context() as patch:
        patch.setattr(Attention, "_attend", attend)
        visual = model.network.visual_embedding(seen.grid.clone().requires_grad_())
        scores = model.network(visual, torch.tensor([0]), *texts).scores
        gradients = torch.autograd.grad(scores[0, row], kept, allow_unused=True)
    filled = [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, kept, strict=True)]
    return [p[0].detach() for p in kept], [g[0] for g in filled], texts[0].shape[1]


def mapped(model, method: str, row: int = 3) -> Tensor:
    forward, _ = forward_pass(model.network, model.look(PHOTO), model.texts(QUESTION), row)
    return METHODS[method](forward)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_probabilities_and_their_gradients(fusion: str, monkeypatch) -> None:
    model = asked(**FUSIONS[fusion])
    forward, _ = forward_pass(model.network, model.look(PHOTO), model.texts(QUESTION), 3)
    calls = [call for step in forward.attention for call in step]
    gradients = forward.gradients([call.output for call in calls])
    expected, by_them, _ = spelled_out(model, monkeypatch)
    assert len(calls) == len(expected)
    for call, gradient, p, g in zip(calls, gradients, expected, by_them, strict=True):
        torch.testing.assert_close(call.probabilities()[0], p)
        torch.testing.assert_close(call.probability_gradient(gradient)[0], g, atol=1e-6, rtol=1e-4)


def test_rollout_of_one_stream(monkeypatch) -> None:
    """Eq. 1 of arXiv 2005.00928: the layers' 0.5 A + 0.5 I, multiplied."""
    model = asked()
    probabilities, _, length = spelled_out(model, monkeypatch)
    total = probabilities[0].shape[-1]
    flow = torch.eye(total)
    for attention in probabilities:
        layer = torch.eye(total)
        rows = attention.mean(0)
        layer[: len(rows)] = (layer[: len(rows)] + rows) / 2
        flow = layer @ flow
    torch.testing.assert_close(mapped(model, "rollout")[0], flow[:length, length:])


def positive(probabilities: Tensor, gradients: Tensor) -> Tensor:
    return F.relu(probabilities * gradients).mean(0)


def test_relevance_of_one_stream(monkeypatch) -> None:
    """Eq. 6 of arXiv 2103.15679: R = R + A R."""
    model = asked()
    probabilities, gradients, length = spelled_out(model, monkeypatch)
    relevance = torch.eye(probabilities[0].shape[-1])
    for attention in map(positive, probabilities, gradients):
        layer = torch.zeros_like(relevance)
        layer[: len(attention)] = attention
        relevance = relevance + layer @ relevance
    found = mapped(model, "relevance")[0]
    torch.testing.assert_close(found, relevance[:length, length:])
    assert found[0].max() > 0


def test_relevance_of_two_streams(monkeypatch) -> None:
    """Eq. 6 to 11 of arXiv 2103.15679, on matrices by stream as they stand there."""
    model = asked(**CROSS_MODAL)
    probabilities, gradients, t = spelled_out(model, monkeypatch)
    # 3 language layers, 2 visual ones; the first cross layer; the second without its visual side.
    calls = iter(map(positive, probabilities, gradients))
    n = probabilities[3].shape[-1]
    tt, ii, ti, it = torch.eye(t), torch.eye(n), torch.zeros(t, n), torch.zeros(n, t)

    def norm(matrix: Tensor) -> Tensor:
        added = matrix - torch.eye(len(matrix))
        sums = added.sum(1, keepdim=True)
        return torch.where(sums > 0, added / sums, 0) + torch.eye(len(matrix))

    def rows(matrix: Tensor, update: Tensor) -> Tensor:
        return matrix + F.pad(update, (0, 0, 0, len(matrix) - len(update)))

    for _ in range(3):
        a = next(calls)
        tt, ti = tt + a @ tt, ti + a @ ti
    for _ in range(2):
        a = next(calls)
        ii, it = ii + a @ ii, it + a @ it
    for is_last in (False, True):
        a = next(calls)
        new_ti, new_tt = norm(tt).T @ a @ norm(ii), a @ it
        if not is_last:
            b = next(calls)
            new_it, new_ii = norm(ii).T @ b @ norm(tt), b @ ti
            it, ii = it + new_it, ii + new_ii
        ti, tt = ti + new_ti, tt + new_tt
        a = next(calls)
        tt, ti = rows(tt, a @ tt), rows(ti, a @ ti)
        if not is_last:
            b = next(calls)
            ii, it = ii + b @ ii, it + b @ it
    assert next(calls, None) is None
    torch.testing.assert_close(mapped(model, "relevance")[0], ti, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_grad_cam(fusion: str) -> None:
    """Eq. 1 and 2 of arXiv 1610.02391."""
    model = asked(**FUSIONS[fusion])
    grid = model.look(PHOTO).grid.requires_grad_()
    visual = model.network.visual_embedding(grid)
    scores = model.network(visual, torch.tensor([0]), *model.texts(QUESTION)).scores
    (gradient,) = torch.autograd.grad(scores[0, 3], grid)
    weights = gradient[0].flatten(1).mean(1)
    expected = F.relu(torch.einsum("c,chw->hw", weights, grid[0]))
    torch.testing.assert_close(mapped(model, "grad_cam")[0, 0], expected.detach().flatten())


@pytest.mark.parametrize("method", ["relevance", "grad_cam"])
def test_answers_have_maps_of_their_own(method: str) -> None:
    model = asked()
    assert not torch.allclose(mapped(model, method, 1), mapped(model, method, 2))


def test_recomputed_layers_give_the_same(monkeypatch) -> None:
    model = asked()
    expected = mapped(model, "relevance")
    model.network.fusion.config.checkpoint_activations = True
    torch.testing.assert_close(mapped(model, "relevance"), expected)
    assert model.network.fusion.config.checkpoint_activations


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tuning", ["lora", "adapter", "bitfit"])
def test_tuning_methods_that_read_the_fusion(tuning: str, method: str) -> None:
    if tuning == "lora":
        pytest.importorskip("peft")
    found = mapped(asked(tuning={"method": tuning}), method)
    assert torch.isfinite(found).all() and found[:, 0].sum() > 0


@pytest.mark.parametrize("method", METHODS)
def test_a_frozen_network_has_the_maps_of_a_trained_one(method: str) -> None:
    model = asked(tuning={"method": "frozen"})
    found = mapped(model, method)
    assert found[0, 0].sum() > 0 and not model.network.tuning.keeps_graph
    whole = asked()
    whole.network.load_state_dict(model.network.state_dict())
    torch.testing.assert_close(found, mapped(whole, method))


SIDE_NETWORKS = {
    "unipt": {"method": "unipt"},
    "unipt_recomputing": {"method": "unipt", "params": {"recompute_states": True}},
    "ladder": {"method": "ladder"},
    "ladder_projecting": {"method": "ladder", "params": {"visual_projection": True}},
    "sherl": {"method": "sherl"},
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tuning", SIDE_NETWORKS)
def test_side_networks(tuning: str, method: str) -> None:
    section = SIDE_NETWORKS[tuning]
    params = {"reduction_factor": 2, **section.get("params", {})}
    model = asked(tuning={**section, "params": params})
    found = mapped(model, method)
    assert torch.isfinite(found).all() and found[0, 0].sum() > 0
    tuned = model.network.tuning
    assert not tuned.keeps_graph and tuned.read_tensors is None
    if method != "rollout":
        assert not torch.allclose(found, mapped(model, method, 1))


def test_relevance_behind_a_side_network(monkeypatch) -> None:
    """The parts of all layers' tokens in the score, gradient times state, weigh eq. 6's R."""
    model = asked(tuning={"method": "unipt", "params": {"reduction_factor": 2}})
    found, tuned = mapped(model, "relevance")[0], model.network.tuning
    monkeypatch.setattr(tuned, "keeps_graph", True)
    probabilities, gradients, length = spelled_out(model, monkeypatch)
    layers = [torch.eye(probabilities[0].shape[-1])]
    for attention in map(positive, probabilities, gradients):
        layers.append(layers[-1] + attention @ layers[-1])

    states, read = [], tuned.read_states

    def read_leaves(given, *others):
        states.extend(state.detach().requires_grad_() for state in given)
        return read(iter(states), *others)

    monkeypatch.setattr(tuned, "read_states", read_leaves)
    visual = model.network.visual_embedding(model.look(PHOTO).grid)
    score = model.network(visual, torch.tensor([0]), *model.texts(QUESTION)).scores[0, 3]
    by_state = torch.autograd.grad(score, states)
    parts = [(g * s.detach())[0].sum(-1).abs() for g, s in zip(by_state, states, strict=True)]
    total = sum(part.sum() for part in parts)
    answer = sum(part @ layer for part, layer in zip(parts, layers, strict=True)) / total
    word = sum(part.sum() * layer[2] for part, layer in zip(parts, layers, strict=True)) / total
    torch.testing.assert_close(found[0], answer[length:])
    torch.testing.assert_close(found[2], word[length:])


def test_without_a_gradient_only_rollout_is_there(monkeypatch) -> None:
    model = asked()
    monkeypatch.setattr(torch, "enable_grad", torch.no_grad)
    with pytest.raises(ExplainError, match=r"under no_grad\. Only rollout needs no gradient"):
        mapped(model, "grad_cam")


def test_a_fusion_that_says_nothing_of_its_attention(monkeypatch) -> None:
    model = asked()
    monkeypatch.setattr(type(model.network.fusion), "attention_steps", lambda self: [])
    with pytest.raises(ExplainError, match="JointFusion does not say which tokens attend to which"):
        mapped(model, "rollout")
    assert mapped(model, "grad_cam").shape == (1, 1, 6)
