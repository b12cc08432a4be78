"""The whole network: images once, what is trainable, precision, what it needs to be imported."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import clipvil_mmf
from clipvil_mmf.config import ConfigError
from clipvil_mmf.fusion import Text
from clipvil_mmf.network import ClipVilNetwork, ClipVilOutput
from clipvil_mmf.vision import Regions, build_image_encoder
from tests.golden.compare import TINY
from tests.golden.lxmert import TINY_LXMERT

VIT = {"layers": 2, "width": 32, "patch_size": 16, "head_width": 16, "image_size": 64}


def network(**encoder: Any) -> ClipVilNetwork:
    sections = copy.deepcopy(TINY)
    if encoder:
        sections["image_encoder"]["params"] = encoder
    return ClipVilNetwork.from_config(**sections)


def batch() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    ids = torch.randint(1, 200, (5, 9))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    return {
        "images": torch.randn(3, 3, 64, 96),
        "image_index": torch.tensor([2, 0, 0, 1, 2]),
        "input_ids": ids * mask,
        "input_mask": mask,
        "segment_ids": torch.zeros_like(ids),
    }


@pytest.mark.parametrize("encoder", [{}, {"tower": VIT}], ids=["resnet", "vit"])
def test_unique_images_equal_repeated_images(encoder: dict[str, Any]) -> None:
    model = network(**encoder).eval()
    inputs = batch()
    counts = []
    model.image_encoder.tower.conv1.register_forward_hook(
        lambda module, args, output: counts.append(len(output))
    )
    with torch.no_grad():
        unique = model(**inputs)
        inputs["images"] = inputs["images"][inputs["image_index"]]
        inputs["image_index"] = torch.arange(5)
        repeated = model(**inputs)
    assert counts == [3, 5]  # once per unique image
    torch.testing.assert_close(unique.scores, repeated.scores, atol=1e-6, rtol=0)
    torch.testing.assert_close(unique.pooled, repeated.pooled, atol=2e-6, rtol=0)
    assert isinstance(unique, ClipVilOutput) and unique.scores.shape == (5, 13)


def test_gradients_of_unique_images_equal_those_of_repeated_images() -> None:
    model = network(tower={"layers": [1, 1, 1, 1], "width": 8}, batch_norm="eval")
    inputs = batch()
    results = []
    for repeat in (False, True):
        if repeat:
            inputs["images"] = inputs["images"][inputs["image_index"]]
            inputs["image_index"] = torch.arange(5)
        model.zero_grad()
        loss = model(**inputs).scores.square().mean()
        loss.backward()
        results.append((loss, [p.grad.clone() for p in model.parameters()]))
    (loss, gradients), (expected_loss, expected) = results
    torch.testing.assert_close(loss, expected_loss, atol=1e-6, rtol=1e-5)
    for gradient, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("encoder", [{}, {"tower": VIT}], ids=["resnet", "vit"])
def test_every_parameter_learns(encoder: dict[str, Any]) -> None:
    model = network(**encoder)
    model(**batch()).scores.square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_frozen_tower_gets_no_gradient_and_the_rest_does() -> None:
    model = network()
    model.image_encoder.requires_grad_(False)
    model(**batch()).scores.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) is name.startswith("image_encoder."), name


def test_questions_do_not_see_each_other() -> None:
    """A question's scores depend on its own image and its own words alone."""
    model = network().eval()
    inputs = batch()
    with torch.no_grad():
        before = model(**inputs).scores
        inputs["images"][0] += 1.0  # the image of questions 1 and 2
        inputs["input_ids"][4] = 7
        after = model(**inputs).scores
    changed = [not torch.allclose(b, a, atol=1e-6) for b, a in zip(before, after, strict=True)]
    assert changed == [False, True, True, False, True]


FUSIONS = {"joint": TINY["fusion"], "cross_modal": TINY_LXMERT["fusion"]}


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("frozen", [False, True], ids=["free", "frozen"])
def test_fusions_over_a_grid(fusion: str, frozen: bool) -> None:
    """What asks for a gradient gets one, and nothing else."""
    sections = copy.deepcopy({**TINY, "fusion": FUSIONS[fusion]})
    sections["image_encoder"]["params"]["frozen"] = frozen
    model = ClipVilNetwork.from_config(**sections)
    model(**batch()).scores.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) is parameter.requires_grad, name
    grid = model.image_encoder(batch()["images"])
    assert (grid.grad_fn is None) is frozen


@pytest.mark.parametrize("fusion", FUSIONS)
def test_fusions_over_regions(fusion: str) -> None:
    """Padded regions have no influence, and those of an image are embedded once."""
    sections = {**TINY_LXMERT, "fusion": FUSIONS[fusion]}
    model = ClipVilNetwork.from_config(**sections).eval()
    inputs = batch()
    mask = torch.ones(3, 6, dtype=torch.long)
    mask[0, 4:] = 0
    features, boxes = torch.randn(3, 6, 32), torch.rand(3, 6, 4)
    embedded = []
    model.visual_embedding.register_forward_hook(
        lambda m, a, output: embedded.append(len(output.tokens))
    )
    with torch.no_grad():
        scores = model(**{**inputs, "images": Regions(features, boxes, mask)}).scores
        features[0, 4:] += 1
        boxes[0, 4:] = 0
        unchanged = model(**{**inputs, "images": Regions(features, boxes, mask)}).scores
        unmasked = model(**{**inputs, "images": Regions(features, boxes)}).scores
        # Questions 1 and 2 are about image 0: alone and without its padding they score the same.
        cut = Regions(features[:1, :4], boxes[:1, :4])
        text = {name: inputs[name][1:3] for name in ("input_ids", "input_mask", "segment_ids")}
        alone = model(images=cut, image_index=torch.tensor([0, 0]), **text).scores
    assert embedded == [3, 3, 3, 1]
    torch.testing.assert_close(scores, unchanged)
    torch.testing.assert_close(scores[1:3], alone, atol=1e-6, rtol=1e-5)
    changed = [not torch.allclose(a, b, atol=1e-6) for a, b in zip(scores, unmasked, strict=True)]
    assert changed == [False, True, True, False, False]


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("frozen", [False, True], ids=["free", "frozen"])
def test_distributed_training(fusion: str, mode: str, frozen: bool) -> None:
    """Without find_unused_parameters, and with BatchNorm in its mode after each evaluation."""
    sections = copy.deepcopy({**TINY, "fusion": FUSIONS[fusion]})
    sections["image_encoder"]["params"].update(frozen=frozen, batch_norm=mode)
    network = ClipVilNetwork.from_config(**sections)
    model = DistributedDataParallel(network)
    norm = network.image_encoder.tower.bn1
    for _ in range(2):  # DDP misses gradients at the second forward
        model.train()
        before = norm.running_mean.clone()
        model(**batch()).scores.square().sum().backward()
        assert torch.equal(norm.running_mean, before) is (mode == "eval")
        model.eval()
        before = norm.running_mean.clone()
        with torch.no_grad():
            model(**batch())
        assert torch.equal(norm.running_mean, before)


def test_clip_is_not_reinitialised() -> None:
    """BERT's normal(0, 0.02) is for fusion and head; the tower keeps open_clip's weights."""
    torch.manual_seed(1)
    alone = network().image_encoder.tower.state_dict()
    torch.manual_seed(1)
    tower = build_image_encoder(TINY["image_encoder"]).tower
    for name, value in tower.state_dict().items():
        assert torch.equal(value, alone[name]), name
    std = network().fusion.layers[0].feed_forward.intermediate.weight.detach().std()
    assert abs(float(std) - 0.02) < 2e-3


def test_shared_settings_reach_the_visual_embedding() -> None:
    sections = copy.deepcopy(TINY)
    sections["fusion"]["params"]["hidden_dropout_prob"] = 0.3
    model = ClipVilNetwork.from_config(**sections, visual_embedding={"pos_num": 4})
    assert model.visual_embedding.dropout.p == 0.3
    assert model.visual_embedding.positions.rows.weight.shape == (4, 256)


def test_errors_carry_the_whole_place() -> None:
    sections = copy.deepcopy(TINY)
    with pytest.raises(ConfigError, match=r"^model_config\.clipvil\.visual_embedding\.pos_nm: "):
        ClipVilNetwork.from_config(**sections, visual_embedding={"pos_nm": 4})
    sections["image_encoder"]["params"]["layer"] = 9
    with pytest.raises(ConfigError, match=r"^model_config\.clipvil\.image_encoder\.params\.layer"):
        ClipVilNetwork.from_config(**sections)
    sections["image_encoder"]["type"] = "clipgrid"
    with pytest.raises(ConfigError, match=r"image_encoder\.type: .*Did you mean 'clip_grid'"):
        ClipVilNetwork.from_config(**sections)


@pytest.mark.parametrize("encoder", [{}, {"tower": VIT}], ids=["resnet", "vit"])
def test_bfloat16_autocast(encoder: dict[str, Any]) -> None:
    model = network(**encoder)
    inputs = batch()
    with torch.autocast("cpu", torch.bfloat16):
        scores = model(**inputs).scores
    assert scores.dtype == torch.bfloat16
    scores.float().square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.dtype == torch.float32
        assert torch.isfinite(parameter.grad).all(), name


def test_torch_modules_need_no_mmf() -> None:
    """With MMF out of reach, and without the package's own registration, they still import.

    Of the bridge they take what it knows of files and of the console, which knows no MMF either.
    """
    code = f"""
import sys, types
package = types.ModuleType("clipvil_mmf")
package.__path__ = [{str(Path(clipvil_mmf.__file__).parent)!r}]
sys.modules.update(clipvil_mmf=package, mmf=None)
before = set(sys.modules)
import clipvil_mmf.checkpoints, clipvil_mmf.network, clipvil_mmf.pretraining
taken = {{name for name in set(sys.modules) - before if name.startswith("mmf_bridge.common")}}
names = ("checksums", "weight_formats", "whole_files", "console", "progress")
files = [f"mmf_bridge.common.{{name}}" for name in names]
assert taken <= {{"mmf_bridge.common", *files}}, taken
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_two_passes_read_the_text_with_each_image() -> None:
    """The head takes the pooled outputs side by side, the first image's first."""
    torch.manual_seed(0)
    model = ClipVilNetwork.from_config(**copy.deepcopy(TINY), passes=2).eval()
    assert model.classifier.hidden.in_features == 128
    inputs = batch()
    inputs["image_index"] = torch.tensor([[2, 0], [0, 1], [0, 1], [1, 0], [2, 2]])
    with torch.no_grad():
        output = model(**inputs)
        text = Text(*(inputs[name] for name in ("input_ids", "input_mask", "segment_ids")))
        visual = model.encode_visual(inputs["images"])
        sides = [model.fusion(text, visual.select(rows)) for rows in inputs["image_index"].T]
    expected = torch.cat(sides, dim=1)
    torch.testing.assert_close(output.pooled, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.scores, model.classifier(expected), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(output.scores[1], output.scores[3], atol=1e-3)  # the order matters


@pytest.mark.parametrize(
    "method", ["unipt", "sherl", "ladder", "lora", "adapter", "compacter", "low_rank_adapter"]
)
def test_tuning_methods_in_two_passes(method: str) -> None:
    factor = {} if method == "lora" else {"params": {"reduction_factor": 2}}
    tuning = {"method": method, **factor}
    model = ClipVilNetwork.from_config(**copy.deepcopy(TINY), tuning=tuning, passes=2)
    inputs = batch()
    inputs["image_index"] = torch.tensor([[2, 0], [0, 1], [0, 1], [1, 0], [2, 2]])
    model(**inputs).scores.square().sum().backward()
    assert all(p.grad is not None for p in model.classifier.parameters())
