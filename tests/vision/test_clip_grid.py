"""Towers of open_clip as grid encoders: shapes, sizes, weights, modes, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from clipvil_mmf.config import ConfigError, from_config
from clipvil_mmf.vision import ClipGridConfig, ClipGridEncoder, build_image_encoder

RESNET = {"layers": [1, 1, 1, 1], "width": 8}
VIT = {"layers": 2, "width": 32, "patch_size": 16, "head_width": 16, "image_size": 64}


def encoder(**params: Any) -> ClipGridEncoder:
    return build_image_encoder({"type": "clip_grid", "params": params})


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may download: `pretrained: null` and files are local by promise."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a network connection was attempted")

    monkeypatch.setattr("socket.socket.connect", refuse)


@pytest.mark.parametrize(
    ("name", "channels", "stride"),
    [("RN50", 2048, 32), ("RN50x4", 2560, 32), ("ViT-B/32", 768, 32)],
)
def test_named_towers(name: str, channels: int, stride: int) -> None:
    tower = encoder(name=name).eval()
    assert (tower.out_channels, tower.stride) == (channels, stride)
    with torch.no_grad():
        assert tower(torch.zeros(1, 3, 64, 96)).shape == (1, channels, 2, 3)


def test_the_published_tower_is_the_default() -> None:
    assert ClipGridConfig().name == "RN50x4"
    assert ClipGridConfig(tower=RESNET).name is None


def test_named_tower_is_the_one_of_open_clip() -> None:
    """Same parameters as open_clip's own vision tower, less its pooling."""
    ours = {name: tuple(p.shape) for name, p in encoder(name="RN50").tower.named_parameters()}
    reference = open_clip.create_model("RN50").visual
    theirs = {name: tuple(p.shape) for name, p in reference.named_parameters()}
    assert ours == {n: s for n, s in theirs.items() if not n.startswith("attnpool.")}


def test_timm_tower() -> None:
    tower = encoder(name="convnext_tiny", layer=1).eval()
    assert (tower.out_channels, tower.stride) == (192, 8)
    with torch.no_grad():
        assert tower(torch.zeros(1, 3, 32, 64)).shape == (1, 192, 4, 8)


@pytest.mark.parametrize("tower", [RESNET, VIT], ids=["resnet", "vit"])
@pytest.mark.parametrize("layer", [-1, -2])
def test_every_parameter_gets_a_gradient(tower: dict[str, Any], layer: int) -> None:
    """Distributed training needs it: no pooling, projection or later stage is left behind."""
    module = encoder(tower=tower, layer=layer)
    module(torch.randn(2, 3, 64, 96)).square().sum().backward()
    assert [name for name, p in module.named_parameters() if p.grad is None] == []


def test_resnet_grid_equals_open_clips_layer4() -> None:
    module = encoder(tower=RESNET).eval()
    images = torch.randn(2, 3, 64, 96)
    resnet = module.tower
    with torch.no_grad():
        x = resnet.layer4(resnet.layer3(resnet.layer2(resnet.layer1(resnet.stem(images)))))
        assert torch.equal(module(images), x)


@pytest.mark.parametrize(
    ("layer", "channels", "stride"),
    [(0, 8, 4), (1, 32, 4), (2, 64, 8), (-2, 128, 16), (4, 256, 32)],
)
def test_resnet_layer_chooses_the_stage(layer: int, channels: int, stride: int) -> None:
    module = encoder(tower=RESNET, layer=layer).eval()
    assert (module.out_channels, module.stride) == (channels, stride)
    grid = module(torch.randn(1, 3, 64, 96))
    assert grid.shape == (1, channels, 64 // stride, 96 // stride)


def test_vit_layer_drops_later_blocks() -> None:
    images = torch.randn(1, 3, 64, 64)
    torch.manual_seed(0)
    full = encoder(tower=VIT).eval()
    torch.manual_seed(0)
    first = encoder(tower=VIT, layer=0).eval()
    assert len(first.tower.transformer.resblocks) == 1
    outputs = []
    full.tower.transformer.resblocks[0].register_forward_hook(
        lambda module, args, output: outputs.append(output)
    )
    with torch.no_grad():
        full(images)
        expected = full.tower.ln_post(outputs[0])[:, 1:]
        got = first(images).flatten(2).transpose(1, 2)
    torch.testing.assert_close(got, expected)


def test_vit_at_its_own_size_uses_its_positions_untouched() -> None:
    module = encoder(tower=VIT).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        plain = module.tower.forward_intermediates(
            images, indices=[1], normalize_intermediates=True, intermediates_only=True
        )
        assert torch.equal(module(images), plain["image_intermediates"][0])


@pytest.mark.parametrize("size", [(32, 96), (96, 32), (128, 128), (16, 16)])
def test_vit_takes_any_size(size: tuple[int, int]) -> None:
    module = encoder(tower=VIT)
    grid = module(torch.randn(2, 3, *size))
    assert grid.shape == (2, 32, size[0] // 16, size[1] // 16)
    grid.square().sum().backward()
    gradient = module.tower.positional_embedding.grad
    assert gradient.shape == (17, 32) and gradient.abs().sum() > 0


def test_vit_positions_are_interpolated_to_the_right_axes() -> None:
    """Rows that differ stay rows on a wide image; a swap of height and width would show."""
    module = encoder(tower=VIT).eval()
    tower = module.tower
    with torch.no_grad():
        tower.positional_embedding.zero_()
        rows = torch.tensor([-1.0, -0.5, 0.5, 1.0]).repeat_interleave(4)
        tower.positional_embedding[1:] = rows[:, None] * torch.randn(32)
        grid = module(torch.zeros(1, 3, 32, 128))
    assert torch.allclose(grid, grid[..., :1].expand_as(grid), atol=1e-5)
    assert (grid[:, :, 0] - grid[:, :, 1]).abs().max() > 0.01


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("switches", [0, 2])
def test_batch_norm_modes(mode: str, switches: int) -> None:
    module = encoder(tower=RESNET, batch_norm=mode)
    parent = nn.Sequential(module)
    before = module.tower.bn1.running_mean.clone()
    for _ in range(switches):  # also through a parent
        parent.eval()
        parent.train()
    images = torch.randn(2, 3, 64, 64) + 1
    with torch.no_grad():  # batch statistics do not depend on gradients
        training = module(images)
    moved = not torch.equal(module.tower.bn1.running_mean, before)
    assert moved is (mode == "train")
    parent.eval()
    with torch.no_grad():
        same = torch.allclose(module(images), training, atol=1e-5)
    assert same is (mode == "eval")


def test_one_tower_forward_has_no_text_tower() -> None:
    module = encoder(name="ViT-B-32")
    assert not any("text" in name or "token_embedding" in name for name in module.state_dict())
    assert sum(p.numel() for p in module.parameters()) < 88e6


@pytest.mark.parametrize("tower", [RESNET, VIT], ids=["resnet", "vit"])
@pytest.mark.parametrize("prefix", ["", "visual.", "module.visual."])
@pytest.mark.parametrize("kind", ["pt", "safetensors", "state_dict"])
def test_weights_from_a_file(tmp_path: Path, tower: dict[str, Any], prefix: str, kind: str) -> None:
    source = encoder(tower=tower).eval()
    weights = {f"{prefix}{k}": v.contiguous() for k, v in source.tower.state_dict().items()}
    if prefix:
        weights[f"{prefix.removesuffix('visual.')}logit_scale"] = torch.ones(())
    path = tmp_path / ("tower.safetensors" if kind == "safetensors" else "tower.pt")
    if kind == "safetensors":
        save_file(weights, path)
    else:
        torch.save({"state_dict": weights} if kind == "state_dict" else weights, path)
    loaded = encoder(tower=tower, pretrained=str(path)).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(images), source(images))


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_weights_from_a_torchscript_archive(tmp_path: Path) -> None:
    """OpenAI's own files are TorchScript archives of half precision."""

    class Clip(nn.Module):
        def __init__(self, visual: nn.Module) -> None:
            super().__init__()
            self.visual = visual

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.visual.conv1(images)

    source = encoder(tower=RESNET).eval()
    path = tmp_path / "RN.pt"
    half = Clip(source.tower).half()
    torch.jit.trace(half, torch.zeros(1, 3, 32, 32).half()).save(str(path))
    loaded = encoder(tower=RESNET, pretrained=str(path))
    assert loaded.tower.conv1.weight.dtype == torch.float32
    assert torch.equal(loaded.tower.conv1.weight, half.visual.conv1.weight.float())


def test_weights_of_another_tower_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save(encoder(tower={**RESNET, "layers": [2, 1, 1, 1]}).tower.state_dict(), path)
    with pytest.raises(ConfigError, match=r"other\.pt holds another tower.*unknown: layer1\.1"):
        encoder(tower=RESNET, pretrained=str(path))
    torch.save(encoder(tower={**RESNET, "width": 16}).tower.state_dict(), path)
    with pytest.raises(ConfigError, match=r"conv1\.weight \(8, 3, 3, 3\) instead of \(4, "):
        encoder(tower=RESNET, pretrained=str(path))
    torch.save({}, path)
    with pytest.raises(ConfigError, match=r"lacks: conv1\.weight"):
        encoder(tower=RESNET, pretrained=str(path))


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ConfigError, match=r"weights\.pt could not be read"):
        encoder(tower=RESNET, pretrained=str(path))
    torch.save([1, 2], path)
    with pytest.raises(ConfigError, match=r"weights\.pt holds no state dict"):
        encoder(tower=RESNET, pretrained=str(path))
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"not safetensors")
    with pytest.raises(ConfigError, match=r"weights\.safetensors could not be read"):
        encoder(tower=RESNET, pretrained=str(path))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"name": "RN50x3"}, r"params\.name: .*no model 'RN50x3'\. Did you mean 'RN50x4'"),
        ({"name": "RN50", "pretrained": "opanai"}, r"'opanai' is neither .*'openai'\?"),
        ({"tower": RESNET, "pretrained": "openai"}, r"nor a tag of the described tower"),
        ({"nam": "RN50"}, r"image_encoder\.params\.nam: unknown key\. Did you mean 'name'\?"),
        ({"tower": {"layers": 2, "patchsize": 8}}, r"params\.tower\.patchsize: .*'patch_size'"),
        ({"tower": {"layers": [1, 1]}}, r"params\.tower\.layers: .*four stages"),
        ({"tower": {"layers": 2, "width": 65}}, r"tower\.head_width: 64 does not divide"),
        ({"tower": {}}, r"params\.tower\.layers: missing"),
        ({"name": "RN50", "tower": RESNET}, r"params\.name: set either"),
        ({"name": "RN50", "channels_last": "yes"}, r"params\.channels_last: .*true, false or auto"),
        ({"name": "RN50", "batch_norm": "frozen"}, r"params\.batch_norm: .*train, eval"),
        ({"tower": RESNET, "layer": 5}, r"params\.layer: got 5, .* expected -5 to 4"),
        (
            {"name": "ViT-B-32-quickgelu", "pretrained": "laion400m_e32x"},
            r"pretrained: 'laion400m_e32x' is neither",
        ),
    ],
)
def test_bad_configurations(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        encoder(**params)


def test_activation_of_a_tag_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI's ViTs need QuickGELU, whichever way the model is named."""
    asked = {}

    class Model:
        visual = encoder(tower=VIT).tower

    def create(name: str, **kwargs: Any) -> Model:
        asked.update(kwargs, name=name)
        return Model()

    Model.visual.proj = None
    monkeypatch.setattr(open_clip, "create_model", create)
    encoder(name="ViT-B-32", pretrained="openai")
    assert asked == {"name": "ViT-B-32", "pretrained": "openai", "force_quick_gelu": True}
    encoder(name="ViT-B-32", pretrained="laion2b_s34b_b79k")
    assert asked["force_quick_gelu"] is False


@pytest.mark.parametrize("tower", [RESNET, VIT], ids=["resnet", "vit"])
def test_bad_images(tower: dict[str, Any]) -> None:
    module = encoder(tower=tower)
    stride = module.stride
    with pytest.raises(ValueError, match=rf"72x64 pixels .*stride is {stride}"):
        module(torch.zeros(1, 3, 72, 64))
    with pytest.raises(ValueError, match=r"Expected images \(B, 3, H, W\), got shape \(1, 1, 64"):
        module(torch.zeros(1, 1, 64, 64))


def test_timm_vit_says_which_size_it_takes() -> None:
    module = encoder(name="ViT-B-32-SigLIP2-256", layer=0).eval()
    with torch.no_grad():
        assert module(torch.zeros(1, 3, 256, 256)).shape == (1, 768, 8, 8)
    with pytest.raises(ValueError, match="takes 256x256 alone"):
        module(torch.zeros(1, 3, 64, 64))


def test_config_is_built_without_yaml() -> None:
    assert ClipGridEncoder(ClipGridConfig(tower=RESNET)).out_channels == 256


@pytest.mark.parametrize("tower", [RESNET, VIT], ids=["resnet", "vit"])
def test_a_frozen_tower_keeps_nothing(tower: dict[str, Any]) -> None:
    images = torch.randn(2, 3, 64, 64)
    kept = {}
    for frozen in (False, True):
        module = encoder(tower=tower, frozen=frozen)
        saved: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, saved=saved: saved.append(tensor.numel()), lambda nothing: nothing
        ):
            grid = module(images)
        kept[frozen] = len(saved)
        assert (grid.grad_fn is None) is frozen
        assert grid.requires_grad is not frozen
        assert {p.requires_grad for p in module.parameters()} == {not frozen}
        assert torch.is_grad_enabled()  # what comes behind the tower has its graph
    assert kept[True] == 0 < kept[False]


@pytest.mark.parametrize(
    ("setting", "half", "is_nhwc"),
    [
        ("auto", False, False),
        ("auto", True, True),
        (True, False, True),
        (False, True, False),
    ],
)
def test_layout(
    setting: bool | str, half: bool, is_nhwc: bool, caplog: pytest.LogCaptureFixture
) -> None:
    module = encoder(tower=RESNET, channels_last=setting)
    seen = []
    module.tower.conv1.register_forward_pre_hook(
        lambda _, args: seen.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    with caplog.at_level("INFO"), torch.autocast("cpu", torch.bfloat16, enabled=half):
        for _ in range(2):
            module(torch.randn(2, 3, 64, 64)).sum().backward()
    assert seen == [is_nhwc, is_nhwc]
    choice = "NHWC, in bfloat16 on cpu" if half else "NCHW, in float32 on cpu"
    said = [f"image_encoder.params.channels_last: auto is {choice}"] if setting == "auto" else []
    assert caplog.messages == said


def test_a_frozen_tower_computes_the_same() -> None:
    images = torch.randn(2, 3, 64, 64)
    free = encoder(tower=RESNET)
    frozen = encoder(tower=RESNET, frozen=True)
    frozen.load_state_dict(free.state_dict())
    torch.testing.assert_close(frozen(images), free(images))  # in place, and NHWC
    for name, value in free.state_dict().items():
        torch.testing.assert_close(frozen.state_dict()[name], value)


def spread_out(module: nn.Module) -> nn.Module:
    """BatchNorms that are not the identity, and bottlenecks that add something."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias)
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return module


@pytest.mark.parametrize("layer", [-1, 1])
def test_without_a_graph_a_tower_computes_the_same(layer: int) -> None:
    images = torch.randn(2, 3, 64, 96)
    source = spread_out(encoder(tower=RESNET, layer=layer))
    folded = encoder(tower=RESNET, layer=layer, fold_batch_norm=True)
    folded.load_state_dict(source.state_dict())
    with_graph = source(images)
    with torch.no_grad():
        torch.testing.assert_close(folded(images), with_graph, atol=1e-4, rtol=1e-4)
        for name, value in source.state_dict().items():
            torch.testing.assert_close(folded.state_dict()[name], value)
        source.eval()
        folded.eval()
        seen = []
        folded.tower.bn1.register_forward_pre_hook(lambda *_: seen.append("bn1"))
        torch.testing.assert_close(folded(images), source(images))
        assert seen == ["bn1"]  # a hook is called: nothing is folded then


def test_folding_leaves_batch_norm_out(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randn(2, 3, 64, 96)
    module = spread_out(encoder(tower=RESNET, fold_batch_norm=True)).eval()
    with_graph = module(images).detach()

    def refuse(*_: object) -> None:
        raise AssertionError("BatchNorm was run")

    monkeypatch.setattr(nn.BatchNorm2d, "forward", refuse)
    with torch.no_grad():
        torch.testing.assert_close(module(images), with_graph, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_the_widest_features_are_a_matrix_product(
    monkeypatch: pytest.MonkeyPatch, training: bool
) -> None:
    """They are added to the block's input in place; convolutions would make them once more."""
    module = spread_out(encoder(tower=RESNET, fold_batch_norm=True)).train(training)
    widest = module.tower.layer1[0].conv3.out_channels
    made, conv2d = set(), torch.nn.functional.conv2d

    def watched(*args: Any) -> torch.Tensor:
        output = conv2d(*args)
        made.add(tuple(output.shape[1:]))
        return output

    monkeypatch.setattr("clipvil_mmf.vision.resnet_inference.F.conv2d", watched)
    with torch.no_grad():
        module(torch.randn(2, 3, 64, 96))
    assert (widest // 4, 16, 24) in made
    assert (widest, 16, 24) not in made


@pytest.mark.parametrize("training", [True, False])
def test_a_large_weight_is_convolved_in_parts(
    monkeypatch: pytest.MonkeyPatch, training: bool
) -> None:
    """What oneDNN copies of it is then small, in the last stage too."""
    monkeypatch.setattr("clipvil_mmf.vision.resnet_inference._VALUES", 1)
    images = torch.randn(2, 3, 64, 96)
    module = spread_out(encoder(tower=RESNET, fold_batch_norm=True)).train(training)
    with_graph = module(images).detach()
    rows, conv2d = [], torch.nn.functional.conv2d

    def watched(features: torch.Tensor, weight: torch.Tensor, *args: Any) -> torch.Tensor:
        rows.append(len(weight))
        return conv2d(features, weight, *args)

    monkeypatch.setattr("clipvil_mmf.vision.resnet_inference.F.conv2d", watched)
    with torch.no_grad():
        torch.testing.assert_close(module(images), with_graph, atol=1e-4, rtol=1e-4)
    assert max(rows) == 32 < module.tower.layer4[0].conv2.out_channels


def test_images_one_after_the_other() -> None:
    images = torch.randn(3, 3, 64, 64)
    module = spread_out(encoder(tower=RESNET, images_at_once=2, frozen=True))
    plain = encoder(tower=RESNET)
    plain.load_state_dict(module.state_dict())
    sizes = []
    module.tower.conv1.register_forward_hook(lambda m, args, out: sizes.append(len(args[0])))
    torch.testing.assert_close(module(images), plain(images))
    assert sizes == [3]  # in training the statistics are those of all images
    module.eval()
    plain.eval()
    torch.testing.assert_close(module(images), plain(images))
    assert sizes == [3, 2, 1]


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_running_statistics_of_a_frozen_tower(mode: str) -> None:
    """As published they move in training; with batch_norm: eval they do not."""
    module = encoder(tower=RESNET, frozen=True, batch_norm=mode)
    before = {name: value.clone() for name, value in module.named_buffers()}
    module(torch.randn(2, 3, 64, 64) + 1)
    moved = {name for name, value in module.named_buffers() if not torch.equal(value, before[name])}
    assert moved == (set(before) if mode == "train" else set())
    module.eval()
    before = {name: value.clone() for name, value in module.named_buffers()}
    module(torch.randn(2, 3, 64, 64) + 1)
    assert all(torch.equal(value, before[name]) for name, value in module.named_buffers())


def test_running_statistics_make_an_image_independent_of_its_batch() -> None:
    images = torch.randn(3, 3, 64, 64)
    for mode in ("train", "eval"):
        module = encoder(tower=RESNET, frozen=True, batch_norm=mode)
        alone = torch.allclose(module(images[:2])[0], module(images)[0], atol=1e-5)
        assert alone is (mode == "eval")


def test_no_warning_of_weights_that_nobody_asked_open_clip_for(caplog) -> None:
    encoder(name="RN50", layer=0)
    assert not caplog.records


def test_keys_for_resnets_are_remarked_on_where_they_do_nothing(caplog) -> None:
    encoder(tower=VIT, batch_norm="eval", fold_batch_norm=True, channels_last=True)
    for key in ("batch_norm: eval", "fold_batch_norm: true", "channels_last: true"):
        assert f"image_encoder.params.{key} has no effect: the tower is not a ResNet" in caplog.text
    caplog.clear()
    encoder(tower=RESNET, batch_norm="eval", fold_batch_norm=True, channels_last=True)
    encoder(tower=VIT)
    assert not caplog.text


def test_pixels_that_fill_no_cell_are_dropped_where_asked() -> None:
    params = {"tower": {"layers": [1, 1, 1, 1], "width": 4}, "partial_cells": "drop"}
    module = ClipGridEncoder(from_config(ClipGridConfig, params, "params")).eval()
    assert module(torch.zeros(1, 3, 90, 70)).shape[-2:] == (2, 2)
    with pytest.raises(ValueError, match="stride is 32"):
        module(torch.zeros(1, 3, 31, 64))
    with pytest.raises(ConfigError, match="partial_cells: unknown value 'pad'"):
        from_config(ClipGridConfig, {**params, "partial_cells": "pad"}, "params")
