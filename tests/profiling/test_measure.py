"""Parameters, multiply-adds and memory of a network, against numbers worked out by hand."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clipvil_mmf.config import ConfigError
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.pretraining import PretrainingNetwork
from clipvil_mmf.profiling.batch import BatchSizes, synthetic_batch
from clipvil_mmf.profiling.measure import count_parameters, matmul_rate
from clipvil_mmf.profiling.memory import peak_memory
from clipvil_mmf.profiling.operations import multiply_adds, operations_of
from clipvil_mmf.tasks import build_task
from clipvil_mmf.vision import Regions
from clipvil_mmf.vision.clip_grid import ClipGridConfig, ClipGridEncoder
from tests.golden.compare import TINY, load_golden
from tests.golden.tuned import SECTIONS


@pytest.mark.parametrize("name", ["unipt", "lst", "sherl"])
def test_what_learns_is_counted_as_published(name: str) -> None:
    network = ClipVilNetwork.from_config(**TINY, tuning=SECTIONS[name])
    counted = count_parameters(network)
    assert counted.trainable == json.loads(str(load_golden(name)["info"]))["trainable"]
    assert counted.total == sum(p.numel() for p in network.parameters())
    assert counted.percent == pytest.approx(100 * counted.trainable / counted.total)


# Linear 64 -> 128, LayerNorm, Linear 128 -> 13.
CLASSIFIER = (64 * 128 + 128) + 2 * 128 + (128 * 13 + 13)
# Of a layer: query, key, value, output, LayerNorm, 64 -> 128, 128 -> 64, LayerNorm; then the
# embeddings' LayerNorm, the pooler, the Linear and the LayerNorm of the grid.
BIASES = 3 * (3 * 64 + 64 + 64 + 128 + 64 + 64) + 64 + 64 + 64 + 64
# The published code trains these too, without using them: box_fc (4 -> 64) and its LayerNorm; the
# adapters also ln_final of CLIP's text tower, 16 wide.
BOX, LN_FINAL = 4 * 64 + 64 + 2 * 64, 2 * 16


@pytest.mark.parametrize(
    ("method", "trainable"), [("frozen", CLASSIFIER), ("bitfit", CLASSIFIER + BIASES)]
)
def test_what_learns_by_hand(method: str, trainable: int) -> None:
    network = ClipVilNetwork.from_config(**TINY, tuning={"method": method})
    assert count_parameters(network).trainable == trainable


def test_everything_learns_without_a_method() -> None:
    assert count_parameters(ClipVilNetwork.from_config(**TINY)).percent == 100


@pytest.mark.parametrize(
    ("name", "unused"),
    [("lora", BOX), ("adapter", BOX + LN_FINAL), ("adapter_vis", BOX + LN_FINAL)],
)
def test_what_is_published_but_unused_is_not_counted(name: str, unused: int) -> None:
    network = ClipVilNetwork.from_config(**TINY, tuning=SECTIONS[name])
    recorded = json.loads(str(load_golden(name)["info"]))["trainable"]
    assert count_parameters(network).trainable == recorded - unused


def test_what_no_synthetic_batch_has(monkeypatch: pytest.MonkeyPatch) -> None:
    network = ClipVilNetwork.from_config(**TINY)
    monkeypatch.setattr(ClipGridEncoder, "batch_fields", ("depths",))
    with pytest.raises(ConfigError, match=r"type: ClipGridEncoder reads depths of a batch; .* has"):
        synthetic_batch(network, BatchSizes(), 13, build_task("vqa"), torch.device("cpu"))


def test_shared_parameters_count_once() -> None:
    first = nn.Linear(3, 4)
    model = nn.Sequential(first, nn.ReLU(), first)
    first.bias.requires_grad_(False)
    assert vars(count_parameters(model)) == {"trainable": 12, "total": 16}


class Some(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 8)
        self.conv = nn.Conv2d(3, 5, kernel_size=3, padding=1)
        self.norm = nn.LayerNorm(8)

    def forward(self, tokens: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        hidden = self.norm(self.linear(tokens)).unflatten(-1, (2, 4)).transpose(1, 2)
        attended = F.scaled_dot_product_attention(hidden, hidden, hidden)
        return attended.sum() + self.conv(images).sum()


def test_multiply_adds_by_hand() -> None:
    model = Some().train()
    counted = multiply_adds(model, (torch.zeros(2, 7, 6), torch.zeros(2, 3, 10, 12)))
    linear, conv = 2 * 7 * 6 * 8, 2 * 10 * 12 * 5 * 3 * 9
    attention = 2 * 2 * (7 * 7 * 4) * 2  # images x heads x a product, and there are two
    assert counted.macs == linear + conv + attention
    assert sorted(counted.by_operator.values()) == sorted((linear, conv, attention))
    assert "native_layer_norm" in counted.uncounted
    assert model.training


def test_multiply_adds_of_a_vit_on_a_grid_of_another_size() -> None:
    tower = {"layers": 2, "width": 8, "head_width": 4, "patch_size": 8, "image_size": 16}
    vit = ClipGridEncoder(ClipGridConfig(tower=tower)).train()
    counted = multiply_adds(vit, (torch.zeros(2, 3, 24, 32),))
    patches = 3 * 4
    tokens, width = patches + 1, 8
    projections, feed_forward = 4 * tokens * width**2, 8 * tokens * width**2
    attention = 2 * tokens**2 * width
    embedding = patches * 3 * 8 * 8 * width
    assert counted.macs == 2 * (embedding + 2 * (projections + feed_forward + attention))


class OfRegions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 8)

    def forward(self, regions: Regions) -> torch.Tensor:
        assert regions.mask is None
        return self.linear(regions.features).sum() + regions.boxes.sum()


def test_multiply_adds_over_named_tuples() -> None:
    regions = Regions(torch.zeros(2, 5, 6), torch.zeros(2, 5, 4))
    assert multiply_adds(OfRegions(), (regions,)).macs == 2 * 5 * 6 * 8


def test_operations_of_a_step_by_hand() -> None:
    linear = nn.Linear(6, 8)
    inputs = torch.zeros(5, 6)  # asks for no gradient: the backward has the weight's product alone
    assert operations_of(lambda: linear(inputs).sum().backward()) == 2 * (2 * 5 * 6 * 8)


def test_operations_added_in_place_count() -> None:
    sums, left, right = torch.zeros(5, 8), torch.ones(5, 6), torch.ones(6, 8)
    assert operations_of(lambda: sums.addmm_(left, right)) == 2 * 5 * 6 * 8
    assert torch.equal(sums, torch.full((5, 8), 6.0))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_matrix_product_has_a_rate(precision: str) -> None:
    own = torch.get_float32_matmul_precision()
    assert 1e8 < matmul_rate(torch.device("cpu"), precision) < 1e15
    assert torch.get_float32_matmul_precision() == own


@pytest.mark.parametrize("answers", [True, False])
def test_a_synthetic_batch_of_a_pretraining_has_its_losses(answers: bool) -> None:
    task = build_task({"type": "pretraining", "params": {"answers": answers}})
    labels = 13 if answers else 0
    network = PretrainingNetwork.from_config(**{**TINY, "num_labels": labels})
    sizes = BatchSizes(images=4, height=32, width=64)
    batch = synthetic_batch(network, sizes, labels, task, torch.device("cpu"))
    output = network(*batch.inputs_of(network))
    assert output.losses.masked_words > 0 and output.losses.matching > 0
    assert (output.losses.answers > 0) == answers
    words, pairs, answered = output.counted.sum(dim=0).tolist()
    assert (words, pairs, answered) == (12, 4, 2 * answers)  # of 80 words


def test_peak_memory_sees_what_is_freed_again() -> None:
    size = 64 * 2**20

    def work() -> None:
        torch.ones(size // 4).add_(1)

    work()
    memory = peak_memory(work, torch.device("cpu"))
    assert 0.9 * size < memory.growth < 1.5 * size
    assert memory.peak > memory.growth and memory.how


@pytest.mark.parametrize(
    ("pairing", "images"), [("side_by_side", (2, 3, 32, 128)), ("two_passes", (4, 3, 32, 64))]
)
def test_a_synthetic_batch_of_pairs(pairing: str, images: tuple[int, ...]) -> None:
    task = build_task({"type": "nlvr2", "params": {"pairing": pairing}})
    network = ClipVilNetwork.from_config(**{**TINY, "num_labels": 2}, passes=task.passes)
    sizes = BatchSizes(images=2, height=32, width=64)
    batch = synthetic_batch(network, sizes, 2, task, torch.device("cpu"))
    pixels = batch.images["images"]
    assert pixels.shape == images and pixels.dtype == torch.uint8  # as a loader's
    assert network(*batch.inputs_of(network)).scores.shape == (2, 2)
