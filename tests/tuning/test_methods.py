"""Tuning methods: what they freeze, that frozen parts keep no graph, and what they refuse."""

from __future__ import annotations

import copy
import re
import sys
from typing import Any
from weakref import ref

import pytest
import torch
from torch import Tensor

from clipvil_mmf.config import ConfigError
from clipvil_mmf.fusion import Text
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.tuning import METHODS, SideNetwork
from tests.golden.compare import TINY

INSIDE = ("lora", "adapter", "compacter", "low_rank_adapter")
SIDES = {"unipt": 2, "ladder": 2, "sherl": 2}


def section(method: str, **params: Any) -> dict[str, Any]:
    if method in SIDES:
        params = {"reduction_factor": SIDES[method], **params}
    return {"method": method, "params": params}


def build(method: str, encoder: dict[str, Any] | None = None, **params: Any) -> ClipVilNetwork:
    torch.manual_seed(0)
    tiny = copy.deepcopy(TINY)
    tiny["image_encoder"]["params"].update(encoder or {})
    return ClipVilNetwork.from_config(**tiny, tuning=section(method, **params))


def batch() -> dict[str, Tensor]:
    lots = torch.Generator().manual_seed(1)
    mask = torch.ones(3, 8, dtype=torch.long)
    mask[1, 5:] = 0
    return {
        "images": torch.randn(2, 3, 64, 96, generator=lots),
        "image_index": torch.tensor([0, 1, 1]),
        "input_ids": torch.randint(1, 200, (3, 8), generator=lots),
        "input_mask": mask,
        "segment_ids": torch.zeros(3, 8, dtype=torch.long),
    }


def graph_inputs(output: Tensor) -> set[int]:
    """The parameters that the backward pass of an output arrives at."""
    found, waiting, seen = set(), [output.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        waiting += [following for following, _ in node.next_functions]
    return found


@pytest.mark.parametrize("method", METHODS)
def test_what_learns_gets_gradients_and_nothing_else(method: str) -> None:
    network = build(method).train()
    network(**batch()).scores.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    assert all(p.requires_grad for p in network.classifier.parameters())
    assert all(p.requires_grad for p in network.tuning.parameters())


@pytest.mark.parametrize("method", [*SIDES, "frozen"])
def test_a_frozen_backbone_keeps_no_graph(method: str) -> None:
    network = build(method).train()
    with_graph = []
    for name, module in network.named_modules():
        if name.startswith(("image_encoder", "visual_embedding", "fusion.")):
            module.register_forward_hook(
                lambda module, args, output, name=name: (
                    with_graph.append(name)
                    if isinstance(output, Tensor) and output.grad_fn is not None
                    else None
                )
            )
    network(**batch())
    last = {"sherl": ("fusion.layers.2", "fusion.pooler"), "frozen": ()}
    allowed = last.get(method, ("fusion.pooler",))
    assert all(name.startswith(allowed) for name in with_graph), with_graph
    assert bool(with_graph) is bool(allowed)


@pytest.mark.parametrize("method", ["lora", "adapter", "bitfit", "compacter", "low_rank_adapter"])
def test_nothing_before_what_learns_is_differentiated(method: str) -> None:
    network = build(method).train()
    arrived = graph_inputs(network(**batch()).scores)
    tower = {id(parameter) for parameter in network.image_encoder.parameters()}
    assert arrived and not arrived & tower


@pytest.mark.parametrize("method", SIDES)
def test_one_token_is_computed_as_all_are(method: str) -> None:
    network = build(method).eval()
    assert isinstance(network.tuning, SideNetwork)
    with torch.no_grad():
        for parameter in network.tuning.parameters():  # gates that are not at their start
            parameter.add_(0.05)
    results = []
    for count in (1, None):
        network.zero_grad()
        images, index, *text = batch().values()
        visual = network.encode_visual(images).select(index)
        joint = network.tuning.joint(network.fusion, Text(*text), visual, count)
        scores = network.classifier(network.fusion.pool(joint))
        scores.square().sum().backward()
        results.append([scores, *[p.grad for p in network.tuning.parameters()]])
    assert joint.shape == (3, 8 + 6, 64)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-3)


def test_images_of_one_batch_are_shared_by_questions() -> None:
    network = build("unipt").eval()
    shared = batch()
    scores = network(**shared).scores
    shared["images"] = shared["images"][shared["image_index"]]
    shared["image_index"] = torch.arange(3)
    torch.testing.assert_close(scores, network(**shared).scores, atol=1e-5, rtol=1e-5)


def test_gates_start_at_nothing() -> None:
    for method, gate in (("sherl", "residual_gate"), ("ladder", "gates.0")):
        assert build(method).tuning.get_parameter(gate).item() == 0.0
    adapters = build("adapter", gate=True, visual=True)
    plain = build("full")
    adapters.load_state_dict(plain.state_dict(), strict=False)
    adapters.eval()
    torch.testing.assert_close(adapters(**batch()).scores, plain.eval()(**batch()).scores)


def test_a_gated_visual_adapter_works_inside_the_tower() -> None:
    network = build("adapter", gate=True, visual=True).eval()
    for name, parameter in network.image_encoder.named_parameters():
        if name.endswith("bn3.weight"):  # 0 at the start: a bottleneck then adds nothing
            torch.nn.init.ones_(parameter)
    before = network(**batch()).scores
    with torch.no_grad():
        for name, parameter in network.tuning.visual.named_parameters():
            parameter.add_(1.0 if name.endswith("gate") else 0.0)
        assert not torch.allclose(network(**batch()).scores, before)  # also under no_grad
    assert not torch.allclose(network(**batch()).scores, before)
    tower = {id(p) for p in network.tower_parameters()}
    assert {id(p) for p in network.tuning.visual.parameters()} <= tower
    assert not {id(p) for p in network.tuning.attention.parameters()} & tower


def test_the_backbones_dropout_may_be_left_out() -> None:
    tiny = copy.deepcopy(TINY)
    tiny["fusion"]["params"]["hidden_dropout_prob"] = 0.5
    tiny["image_encoder"]["params"]["batch_norm"] = "eval"
    for mode, same in (("train", False), ("eval", True)):
        torch.manual_seed(0)
        tuning = section("unipt", backbone_mode=mode)
        network = ClipVilNetwork.from_config(**tiny, tuning=tuning).train()
        first, second = (network(**batch()).scores for _ in range(2))
        assert torch.equal(first, second) is same
        network.eval()
        assert not network.fusion.training


def test_a_backbone_in_bfloat16() -> None:
    exact, rounded = build("unipt"), build("unipt", backbone_precision="bf16")
    scores = [network.eval()(**batch()).scores for network in (exact, rounded)]
    assert scores[1].dtype == torch.float32
    difference = (scores[0] - scores[1]).abs().max()
    assert 0 < difference < 0.1 * scores[0].abs().max()


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        ({"method": "unipd"}, r"tuning\.method: unknown value 'unipd'.*'unipt'"),
        ({"type": "unipt"}, r"tuning\.type: unknown key"),
        (section("unipt", reduction_factor=5), r"reduction_factor: 5 does not divide.*64"),
        (section("ladder", reduction_factor=32), r"reduction_factor: 32 leaves a width of 2"),
        (section("ladder", initialization="large"), r"initialization: unknown value 'large'"),
        (section("ladder", fisher_samples=0), r"fisher_samples: got 0"),
        (section("ladder", layers=[3]), r"layers: got \[3\], .* layers 0 to 2"),
        (section("ladder", layers=[-1, 0]), r"layers: got \[-1, 0\], .* layers 0 to 2"),
        (section("ladder", layers=[1, 0]), r"layers: got \[1, 0\], .*ascending"),
        (section("ladder", layers=[]), r"layers: got \[\], .*ascending"),
        (section("adapter", reduction_facto=8), r"params\.reduction_facto: unknown key"),
        (section("lora", dim=0), r"params\.dim: got 0"),
        (section("compacter", division=3), r"division: 3 does not divide.*64"),
        (section("compacter", rank=0), r"rank: got 0"),
        (section("low_rank_adapter", reduction_factor=3), r"reduction_factor: 3 does not divide"),
        (section("low_rank_adapter", rank=0), r"rank: got 0"),
        (section("sherl", backbone_mode="evl"), r"backbone_mode: unknown value 'evl'"),
    ],
)
def test_what_is_refused(tuning: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ClipVilNetwork.from_config(**TINY, tuning=tuning)


@pytest.mark.parametrize(
    "method", ["unipt", "ladder", "sherl", "adapter", "compacter", "low_rank_adapter"]
)
def test_methods_of_the_joint_fusion(method: str) -> None:
    lxmert = copy.deepcopy(TINY)
    del lxmert["fusion"]["params"]["num_hidden_layers"]
    lxmert["fusion"]["type"] = "cross_modal"
    with pytest.raises(ConfigError, match=rf"tuning\.method: {method} reads.*lora are available"):
        ClipVilNetwork.from_config(**lxmert, tuning=section(method))
    ClipVilNetwork.from_config(**lxmert, tuning=section("lora"))


def test_visual_adapters_need_a_tower_that_learns() -> None:
    with pytest.raises(ConfigError, match=r"visual: .*frozen"):
        build("adapter", {"frozen": True}, visual=True)


def test_a_ladder_beside_some_layers() -> None:
    """--encoder_side_layers: the others have no part, and those after the last do not run."""
    network, ran = build("ladder", layers=[1], initialization="magnitude"), []
    for index, layer in enumerate(network.fusion.layers):
        layer.register_forward_hook(lambda *args, index=index: ran.append(index))
    names = {name.split(".")[1] for name in network.tuning.state_dict() if ".1" in name}
    assert names == {"1"} and list(network.tuning.gates) == ["1"]
    network.tuning.start_from(network)
    network.train()(**batch()).scores.square().sum().backward()
    assert ran == [0, 1]
    assert all(p.grad is not None for p in network.tuning.parameters())
    # Pruned as it is with a narrow layer beside each.
    whole = build("ladder", initialization="magnitude")
    whole.load_state_dict(network.state_dict(), strict=False)
    whole.tuning.start_from(whole)
    for one, other in zip(
        network.tuning.blocks[1].parameters(), whole.tuning.blocks[1].parameters(), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("layers", [[0, 1, 2], [0, 2]])
def test_a_ladder_computes_one_token_as_all(layers: list[int]) -> None:
    network = build("ladder", layers=layers).eval()
    images, index, *text = batch().values()
    visual = network.encode_visual(images).select(index)
    one, every = (network.tuning.joint(network.fusion, Text(*text), visual, n) for n in (1, None))
    torch.testing.assert_close(one, every[:, :1], atol=1e-4, rtol=1e-4)


def test_a_ladders_own_visual_projection() -> None:
    """--add_side_visual_projection: it begins as the backbone's where the ladder is pruned."""
    network = build("ladder", visual_projection=True, initialization="magnitude").eval()
    plain = build("ladder")
    network.tuning.start_from(network)
    plain.load_state_dict(network.state_dict(), strict=False)
    scores = [each.eval()(**batch()).scores for each in (network, plain)]
    torch.testing.assert_close(*scores, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        network.tuning.visual.projection.weight.normal_()
    changed = network(**batch()).scores
    assert not torch.allclose(changed, scores[0])
    changed.square().sum().backward()
    assert all(p.grad is not None for p in network.tuning.visual.parameters())
    assert network.visual_embedding.projection.weight.grad is None
    regions = copy.deepcopy(TINY)
    regions["image_encoder"] = {"type": "region_features", "params": {"feature_size": 6}}
    regions.pop("visual_embedding", None)
    with pytest.raises(ConfigError, match=r"visual_projection: .* for grid features"):
        tuning = section("ladder", visual_projection=True)
        ClipVilNetwork.from_config(**regions, tuning=tuning)


def trained(network: ClipVilNetwork) -> set[str]:
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("method", INSIDE)
def test_what_is_trainable_inside(method: str) -> None:
    """--freeze_visual_projection and --use_bn of the published code."""
    usual, given = trained(build(method)), build(method, train_visual_projection=False)
    left_out = usual - trained(given)
    # The published code trains LayerNorms beside adapters, and all biases beside LoRA's factors.
    assert "visual_embedding.projection.weight" in left_out
    assert all(name.startswith("visual_embedding.") for name in left_out)
    network = build(method, train_batch_norm=True)
    added = trained(network) - usual
    norms = {
        name
        for name, _ in network.image_encoder.named_parameters("image_encoder")
        if re.search(r"\.bn\d\.|downsample\.1\.", name)
    }
    assert added == norms and norms
    network.train()(**batch()).scores.square().sum().backward()
    assert all(network.get_parameter(name).grad is not None for name in norms)
    with pytest.raises(ConfigError, match=r"train_batch_norm: BatchNorms in a tower .*frozen"):
        build(method, {"frozen": True}, train_batch_norm=True)


def test_the_towers_adapters_alone() -> None:
    """--use_vis_adapter without --use_adapter; the fusion then stays as it is."""
    network = build("adapter", fusion=False, visual=True)
    names = trained(network)
    assert not any(name.startswith(("fusion.", "tuning.attention")) for name in names)
    assert "visual_embedding.projection.weight" in names
    assert {"image_encoder.tower.bn1.weight", "tuning.visual.tower_layer1_0.conv.weight"} <= names
    network.train()(**batch()).scores.square().sum().backward()
    assert all(network.get_parameter(name).grad is not None for name in names)


def test_batch_norms_need_a_tower_that_has_them() -> None:
    vit = {"tower": {"layers": 1, "width": 64, "patch_size": 32}}
    with pytest.raises(ConfigError, match=r"train_batch_norm: the tower has no BatchNorm"):
        build("lora", vit, train_batch_norm=True)


def kronecker(linear: torch.nn.Module, rule: Tensor) -> Tensor:
    """H of a hypercomplex matrix, product by product."""
    factors = zip(rule, linear.W_left @ linear.W_right, strict=True)
    return sum(torch.kron(one, other) for one, other in factors)


@pytest.mark.parametrize("shared", [True, False])
def test_compacters_matrices_are_sums_of_kronecker_products(shared: bool) -> None:
    tuning = build("compacter", rank=2, shared_rule=shared).double().tuning
    names = {name for name, _ in tuning.named_parameters() if "phm_rule" in name}
    assert names == {"phm_rule"} if shared else len(names) == 4 * len(tuning.attention)
    adapter = tuning.attention[1]
    with torch.no_grad():
        for parameter in tuning.parameters():
            parameter.normal_()
    hidden = torch.randn(2, 5, 64, dtype=torch.float64)
    down, up = (
        (tuning.phm_rule if shared else part.phm_rule, part) for part in (adapter.down, adapter.up)
    )
    inner = hidden @ kronecker(down[1], down[0]) + adapter.down.b
    inner = torch.nn.functional.gelu(inner, approximate="tanh")
    expected = inner @ kronecker(up[1], up[0]) + adapter.up.b
    torch.testing.assert_close(tuning.update(adapter, hidden), expected)


def test_low_rank_matrices_are_products_of_two() -> None:
    tuning = build("low_rank_adapter", rank=2).tuning
    adapter = tuning.feed_forward[0]
    hidden = torch.randn(2, 5, 64)
    matrices = [part.W_left @ part.W_right for part in (adapter.down, adapter.up)]
    assert all(torch.linalg.matrix_rank(matrix) == 2 for matrix in matrices)
    inner = torch.nn.functional.gelu(hidden @ matrices[0] + adapter.down.b, approximate="tanh")
    expected = inner @ matrices[1] + adapter.up.b
    torch.testing.assert_close(adapter(hidden), expected, atol=1e-5, rtol=1e-5)


def test_a_compacter_begins_at_nothing() -> None:
    """Its rules do: a matrix of rank 1 with them is 10,000 times smaller than an adapter's."""
    network, plain = build("compacter"), build("full")
    network.load_state_dict(plain.state_dict(), strict=False)
    scores = [each.eval()(**batch()).scores for each in (network, plain)]
    torch.testing.assert_close(*scores, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("method", "params", "inside"),
    [
        # Of the published RN50x4 model: each factor and bias of 24 adapters, down and up.
        ("compacter", {}, 24 * ((768 + 48 + 48) + (48 + 768 + 768)) + 4**3),
        ("compacter", {"shared_rule": False}, 24 * (864 + 1584 + 2 * 4**3)),
        ("compacter", {"division": 8, "rank": 2}, 24 * (2 * 2 * (768 + 48) + 816) + 8**3),
        ("low_rank_adapter", {}, 24 * ((768 + 48 + 48) + (48 + 768 + 768))),
        ("low_rank_adapter", {"rank": 3}, 24 * (2 * 3 * (768 + 48) + 816)),
    ],
)
def test_trainable_parameters_at_the_published_size(
    method: str, params: dict[str, Any], inside: int
) -> None:
    with torch.device("meta"):
        network = ClipVilNetwork.from_config(
            image_encoder={"type": "clip_grid"},
            fusion={"type": "joint"},
            classifier={"type": "mlp"},
            num_labels=3129,
            tuning={"method": method, "params": params},
        )
    head = 768 * 1536 + 1536 + 2 * 1536 + 1536 * 3129 + 3129
    norms, projection = (2 * 12 + 1) * 2 * 768, 2560 * 768 + 768 + 2 * 768
    assert sum(p.numel() for p in network.tuning.parameters()) == inside
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert trainable == head + norms + projection + inside


def test_lora_without_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"tuning\.method: lora needs.*pip install peft"):
        build("lora")


def test_a_ladder_begins_with_the_largest_weights_of_the_backbone() -> None:
    network = build("ladder", initialization="magnitude")
    ladder, wide = network.tuning, network.fusion.layers[0]
    # Channels, rows and inner units that are to be found again: a head keeps half of its rows.
    channels = torch.arange(0, ladder.width, 2)
    heads, size = wide.attention.num_heads, ladder.width // wide.attention.num_heads
    rows = torch.cat([torch.arange(size // 2, size) + head * size for head in range(heads)])
    with torch.no_grad():
        network.fusion.embeddings.word.weight[:, channels] *= 10
        for name in ("query", "key", "value"):
            getattr(wide.attention, name).weight[rows] *= 10
            getattr(wide.attention, name).bias.normal_()
        wide.attention.output.weight[channels + 1] *= 10
        wide.feed_forward.intermediate.weight[: wide.feed_forward.output.in_features // 2] *= 10
        wide.feed_forward.output.weight[channels] *= 10
        wide.feed_forward.LayerNorm.weight.normal_()
    network.tuning.start_from(network)
    ours, theirs = ladder.blocks[0], wide
    inner = torch.arange(theirs.feed_forward.output.in_features // 2)
    for name in ("query", "key", "value"):
        linear = getattr(theirs.attention, name)
        begun = getattr(ours.attention, name)
        assert torch.equal(begun.weight, linear.weight[rows][:, channels])
        assert torch.equal(begun.bias, linear.bias[rows])
    attended = theirs.attention.output.weight[channels + 1][:, rows]
    assert torch.equal(ours.attention.output.weight, attended)
    entered = theirs.feed_forward.intermediate.weight[inner][:, channels + 1]
    assert torch.equal(ours.feed_forward.intermediate.weight, entered)
    left = theirs.feed_forward.output.weight[channels][:, inner]
    assert torch.equal(ours.feed_forward.output.weight, left)
    norm = theirs.feed_forward.LayerNorm.weight[channels]
    assert torch.equal(ours.feed_forward.LayerNorm.weight, norm)
    # The next layer reads what this one gives.
    following = network.fusion.layers[1].attention.value.weight
    begun = ladder.blocks[1].attention.value.weight
    wanted = {tuple(row) for row in following[:, channels].tolist()}
    assert {tuple(row) for row in begun.tolist()} <= wanted


def test_a_random_ladder_stays_as_it_was_built() -> None:
    network = build("ladder")
    before = copy.deepcopy(network.tuning.state_dict())
    network.tuning.start_from(network)
    after = network.tuning.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("method", ["unipt", "sherl"])
@pytest.mark.parametrize("autocast", [False, True])
def test_recomputed_states_give_the_same_gradients(method: str, autocast: bool) -> None:
    """With dropout in the backbone, which has to be the same in both passes."""
    found, states = {}, {}
    for recompute in (False, True):
        network = build(method, recompute_states=recompute)
        network.train()
        for dropout in (m for m in network.modules() if isinstance(m, torch.nn.Dropout)):
            dropout.p = 0.1
        seen = []
        for layer in network.fusion.layers:
            layer.register_forward_hook(lambda m, args, out, seen=seen: seen.append(ref(out)))
        torch.manual_seed(5)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            scores = network(**batch()).scores
        drawn = torch.rand(1)
        states[recompute] = sum(state() is not None for state in seen)
        scores.float().square().sum().backward()
        after = torch.rand(1)
        gradients = {n: p.grad for n, p in network.named_parameters() if p.requires_grad}
        found[recompute] = (scores, drawn, after, gradients)
    for first, second in zip(found[False][:3], found[True][:3], strict=True):
        torch.testing.assert_close(second, first)  # nor does the second pass draw from the run's
    assert found[False][3].keys() == found[True][3].keys()
    for name, gradient in found[False][3].items():
        torch.testing.assert_close(found[True][3][name], gradient, msg=name)
    assert states[False] > states[True]
    assert states[True] <= 1


def test_the_former_name_of_a_precision_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    network = build("unipt", backbone_precision="bfloat16")
    assert network.tuning.config.backbone_precision == "bf16"
    assert "backbone_precision: bfloat16 is called bf16 now" in caplog.text
    with pytest.raises(ConfigError, match=r"backbone_precision: unknown value 'fp8'"):
        build("unipt", backbone_precision="fp8")
