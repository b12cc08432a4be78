"""The network under torch.compile: one graph, few graphs for all batches, the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from clipvil_mmf.layers.dropout import drop
from clipvil_mmf.layers.recompute import run
from clipvil_mmf.layers.transformer import TransformerLayer
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.pretraining import PretrainingNetwork
from clipvil_mmf.tasks import build_task
from clipvil_mmf.vision import Regions

SIZES = {
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 30,
    "max_position_embeddings": 12,
}
TOWER = {"tower": {"layers": [1, 1, 1, 1], "width": 2}}
JOINT = {"type": "joint", "params": {**SIZES, "num_hidden_layers": 1}}
CROSS = {
    "type": "cross_modal",
    "params": {**SIZES, "language_layers": 1, "cross_layers": 1, "visual_layers": 1},
}
RECOMPUTED = {"type": "joint", "params": {**JOINT["params"], "checkpoint_activations": True}}
GRID = {"type": "clip_grid", "params": TOWER}
REGIONS = {"type": "region_features", "params": {"feature_size": 6}}
LABELS = 5
SEQUENCED = ("full", "unipt", "lxmert")

# On regions, but for those that are about the tower.
NETWORKS: dict[str, dict[str, Any]] = {
    "full": {"image_encoder": GRID},
    "adapter": {
        "image_encoder": GRID,
        "tuning": {"method": "adapter", "params": {"visual": True, "gate": True}},
    },
    "folded": {
        "image_encoder": {
            "type": "clip_grid",
            "params": {**TOWER, "frozen": True, "batch_norm": "eval", "fold_batch_norm": True},
        }
    },
    "recomputed": {"fusion": RECOMPUTED},
    "bitfit": {"tuning": {"method": "bitfit"}},
    "frozen": {"tuning": {"method": "frozen", "params": {"backbone_precision": "bf16"}}},
    "unipt": {"tuning": {"method": "unipt"}},
    "unipt_recomputed": {"tuning": {"method": "unipt", "params": {"recompute_states": True}}},
    "sherl_recomputed": {
        "fusion": {"type": "joint", "params": {**SIZES, "num_hidden_layers": 2}},
        "tuning": {"method": "sherl", "params": {"recompute_states": True}},
    },
    "ladder": {"tuning": {"method": "ladder", "params": {"reduction_factor": 2}}},
    "lora": {"tuning": {"method": "lora", "params": {"dim": 2}}},
    "compacter": {"tuning": {"method": "compacter", "params": {"reduction_factor": 4}}},
    "low_rank_adapter": {"tuning": {"method": "low_rank_adapter"}},
    "lxmert": {"fusion": CROSS},
    "vilt": {
        "image_encoder": {
            "type": "clip_patches",
            "params": {"tower": {"layers": 2, "width": 16, "patch_size": 32, "head_width": 8}},
        },
        "fusion": {"type": "vilt", "params": SIZES},
    },
}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Nothing is compiled before and kept after a test."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def build(kind: type[ClipVilNetwork] = ClipVilNetwork, **sections: Any) -> ClipVilNetwork:
    torch.manual_seed(0)
    given = {
        "image_encoder": REGIONS,
        "fusion": JOINT,
        "classifier": {"type": "mlp"},
        "num_labels": LABELS,
    }
    return kind.from_config(**{**given, **sections})


def batch(
    network: ClipVilNetwork,
    questions: int = 4,
    images: int = 3,
    length: int = 7,
    size: tuple[int, int] = (32, 64),
) -> dict[str, Any]:
    mask = torch.ones(questions, length, dtype=torch.int64)
    mask[0, 3:] = 0
    count = sum(size) // 16
    of_images = torch.ones(images, count, dtype=torch.int64)
    regions = Regions(torch.randn(images, count, 6), torch.rand(images, count, 4), of_images)
    on_regions = "region_boxes" in network.image_encoder.batch_fields
    return {
        "images": regions if on_regions else torch.randn(images, 3, *size),
        "image_index": torch.arange(questions) % images,
        "input_ids": torch.randint(1, 30, (questions, length)),
        "input_mask": mask,
        "segment_ids": torch.zeros_like(mask),
    }


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in SEQUENCED])
def test_network_and_loss_are_one_graph(name: str) -> None:
    network = build(**NETWORKS[name]).train()
    inputs = batch(network)
    task, targets = build_task("vqa"), torch.rand(4, LABELS)
    counter = CompileCounter()

    @torch.compile(backend=counter, fullgraph=True)
    def step() -> torch.Tensor:
        return task.loss(network(**inputs).scores, targets)

    torch.manual_seed(1)
    compiled = step()
    compiled.backward()
    assert counter.frame_count == 1
    torch.manual_seed(1)
    torch.testing.assert_close(compiled, task.loss(network(**inputs).scores, targets))


def test_pretraining_is_one_graph() -> None:
    network = build(PretrainingNetwork).train()
    network.compile(backend="eager", fullgraph=True)
    labels = {
        "word_labels": torch.randint(-1, 2, (4, 7)),
        "matching_labels": torch.tensor([0, 1, 1, 0]),
        "answer_labels": torch.tensor([-1, 2, 3, -1]),
    }
    network(**batch(network), **labels).losses.total.backward()


def test_the_loss_of_classes_is_one_graph() -> None:
    loss = torch.compile(build_task("entailment").loss, backend="eager", fullgraph=True)
    scores = torch.randn(4, 3)
    targets = torch.tensor([0, 2, -1, 1])
    assert loss(scores, targets) == build_task("entailment").loss(scores, targets)


# Of batches, and how many graphs there are after each: one for each size of images.
SEQUENCE = [
    ({}, 1),
    ({"questions": 6}, 1),
    ({"questions": 9, "images": 9}, 1),
    ({"images": 2, "length": 5}, 1),
    ({"size": (64, 32)}, 2),
    ({"questions": 8, "images": 5, "length": 11}, 2),
    ({"size": (64, 32), "questions": 7, "images": 4, "length": 6}, 2),
]


@pytest.mark.parametrize("name", SEQUENCED)
def test_batches_of_all_sizes_share_a_graph(name: str) -> None:
    network = build(**NETWORKS[name]).train()
    counter = CompileCounter()
    network.compile(backend=counter, fullgraph=True)
    for sizes, graphs in SEQUENCE:
        inputs, found = batch(network, **sizes), []
        for run_network in (network, network.forward):  # compiled and not
            torch.manual_seed(1)
            found.append(run_network(**inputs).scores)
        torch.testing.assert_close(*found)
        found[0].sum().backward()
        assert counter.frame_count == (graphs if name == "full" else 1)


def test_names_stay_as_they_are() -> None:
    network = build()
    before = list(network.state_dict())
    network.compile(backend="eager")
    assert list(network.state_dict()) == before and type(network) is ClipVilNetwork


@pytest.mark.parametrize("p", [0.1, 1.0])
def test_dropout_draws_the_same_numbers(p: float) -> None:
    values = torch.randn(7, 9)
    torch.manual_seed(0)
    plain = drop(values, p)
    torch.manual_seed(0)
    compiled = torch.compile(drop, backend="aot_eager", fullgraph=True)(values, p)
    assert torch.equal(plain, compiled)


def test_recomputed_dropout_is_the_same_compiled() -> None:
    """torch.compile puts the random numbers back where it recomputes a layer."""
    torch.manual_seed(0)
    layer, gradients = TransformerLayer(16, 2, 16, 0.5, 0.5), []
    states = torch.randn(3, 5, 16)
    for recompute in (False, True):
        compiled = torch.compile(run, backend="aot_eager", fullgraph=True)
        torch.manual_seed(2)
        compiled(layer, states, recompute=recompute).square().sum().backward()
        gradients.append({name: p.grad for name, p in layer.named_parameters()})
        layer.zero_grad()
    torch.testing.assert_close(*gradients)
