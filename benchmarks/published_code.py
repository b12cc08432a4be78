"""The published code of CLIP-ViL or UniPT, run from a checkout beside this repository.

Only the modules that make up the network are imported; what they import for other ends (downloads,
the command line) is stood in for. CLIP-ViL: github.com/clip-vil/CLIP-ViL; UniPT:
github.com/Paranioar/UniPT, whose network is CLIP-ViL's with a side network where one is asked for.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from clipvil_mmf.checkpoints.published.names import table_for
from clipvil_mmf.network import ClipVilNetwork

# Where the folder with `src` and `clip` is in the two repositories.
_PLACES = ("CLIP-ViL-Pretrain", "CLIP-ViL", ".")
_OWN = ("lxrt", "clip", "param")
_ENCODER = "lxrt_encoder.model."


class PublishedNetwork(nn.Module):
    """The published network on the inputs of ours: an image for every question."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.lxrt_encoder = nn.ModuleDict({"model": encoder})
        self.logit_fc = head
        # The positions are added in place, to what the backward pass of the tower's last ReLU
        # needs: in float32 that is an error.
        positions = encoder.bert.encoder.visual_pos
        positions.register_forward_pre_hook(lambda module, args: (args[0].clone(),))

    def forward(
        self, images: Tensor, image_index: Tensor, ids: Tensor, mask: Tensor, segments: Tensor
    ) -> Tensor:
        """Scores (B, labels)."""
        features = (images[image_index], None)
        pooled = self.lxrt_encoder["model"](ids, segments, mask, visual_feats=features)
        return self.logit_fc(pooled)


def network_folder(checkout: Path) -> Path:
    """The folder of a checkout that has `src` and `clip`.

    Raises:
        SystemExit: there is none.
    """
    for place in _PLACES:
        if (checkout / place / "src" / "lxrt" / "modeling.py").is_file():
            return checkout / place
    raise SystemExit(
        f"--published {checkout}: no {' or '.join(_PLACES[:2])} with src/lxrt/modeling.py there; "
        "expected a checkout of github.com/clip-vil/CLIP-ViL or github.com/Paranioar/UniPT."
    )


def has_unipt(folder: Path) -> bool:
    """Whether the code in a folder is UniPT's."""
    return (folder / "src" / "lxrt" / "side_transformers").is_dir()


def published_network(folder: Path, ours: ClipVilNetwork, unipt: bool) -> PublishedNetwork:
    """The published network in the sizes of ours, with its weights and what it trains.

    Args:
        folder: of :func:`network_folder`.
        ours: CLIP-ViL on a ResNet, fine-tuned in full or, with `unipt`, by UniPT.
        unipt: whether the side network is there.
    """
    sizes, tower = ours.fusion.config, ours.image_encoder.tower
    visual = SimpleNamespace(
        use_clip=True,
        clip_model_name="RN",
        visualbert_style=True,
        vilt_style=False,
        use_vit=False,
        drop_boxes=False,
        freeze_clip=False,
        sub_sampling=False,
        use_max_pooling=False,
        use_positional_embedding=True,
        pos_num=ours.visual_embedding.positions.pos_num,
        visual_feat_dim=ours.image_encoder.out_channels,
        visual_pos_dim=4,
        l_layers=len(ours.fusion.layers),
        x_layers=0,
        r_layers=0,
        visual_losses=[],
        visual_loss_config={},
        VISUAL_LOSSES=[],
    )
    stages = [len(getattr(tower, f"layer{number}")) for number in (1, 2, 3, 4)]
    with _modules(folder, visual) as (modeling, clip), contextlib.redirect_stdout(io.StringIO()):

        def load(name: str, jit: bool, **config: Any) -> tuple[nn.Module, None]:
            text = (1, 1, 64, 1, 1)
            vision = (64, 64, stages, tower.conv3.out_channels, None)
            return clip.model.CLIP(*vision, *text, **config), None

        clip.load = load
        config = modeling.BertConfig(
            sizes.vocab_size,
            **{
                name: getattr(sizes, name)
                for name in (
                    *("hidden_size", "num_attention_heads", "intermediate_size"),
                    *("hidden_dropout_prob", "attention_probs_dropout_prob"),
                    *("max_position_embeddings", "type_vocab_size", "initializer_range"),
                )
            },
        )
        side = {}
        if unipt:
            factor = ours.tuning.config.reduction_factor
            side["side_config"] = SimpleNamespace(
                reduction_factor=factor, detach_visual_projection=True
            )
        encoder = modeling.LXRTFeatureExtraction(config, mode="x", **side)
        wide, labels = 2 * sizes.hidden_size, ours.classifier.output.out_features
        head = nn.Sequential(
            nn.Linear(sizes.hidden_size, wide),
            modeling.GeLU(),
            nn.LayerNorm(wide, eps=1e-12),
            nn.Linear(wide, labels),
        )
    network = PublishedNetwork(encoder, head)
    table = table_for(ours.state_dict())
    weights = {
        f"{_ENCODER}{name}" if name.startswith("bert.") else name: value
        for name, value in (
            (table.published(name).removeprefix(_ENCODER), value)
            for name, value in ours.state_dict().items()
        )
    }
    rest = network.load_state_dict(weights, strict=False)
    if rest.unexpected_keys:
        raise RuntimeError(f"the published code has no {', '.join(rest.unexpected_keys[:3])}")
    if unipt:
        for name, parameter in network.named_parameters():
            parameter.requires_grad = "side_" in name or "logit_fc" in name
    # What CLIP-ViL has and does not use would have no gradient.
    for name, parameter in network.named_parameters():
        if name in rest.missing_keys:
            parameter.requires_grad = False
    return network


@contextmanager
def _modules(folder: Path, visual: SimpleNamespace) -> Iterator[tuple[Any, Any]]:
    """`lxrt.modeling` and `clip` with `clip.model`; both are forgotten at the end.

    The two repositories call their packages alike.
    """
    stand_ins = {
        "lxrt": _package("lxrt", folder / "src" / "lxrt"),
        "lxrt.file_utils": ModuleType("lxrt.file_utils"),
        "clip": _package("clip", folder / "clip"),
        "param": ModuleType("param"),
    }
    stand_ins["lxrt.file_utils"].cached_path = None
    stand_ins["param"].VISUAL_CONFIG = visual
    stand_ins["param"].args = SimpleNamespace()
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_theirs(name)}
    try:
        sys.modules.update(stand_ins)
        import_module("clip.model")
        yield import_module("lxrt.modeling"), stand_ins["clip"]
    finally:
        for name in [name for name in sys.modules if _is_theirs(name)]:
            del sys.modules[name]
        sys.modules.update(before)


def _is_theirs(name: str) -> bool:
    return name.split(".")[0] in _OWN


def _package(name: str, folder: Path) -> ModuleType:
    """A package whose `__init__.py` is not run."""
    package = ModuleType(name)
    package.__path__ = [str(folder)]
    return package


def check_scores(ours: ClipVilNetwork, theirs: PublishedNetwork, inputs: tuple[Any, ...]) -> None:
    """Both give the same scores in evaluation mode.

    Raises:
        RuntimeError: they do not.
    """
    ours.eval()
    theirs.eval()
    with torch.no_grad():
        here, there = ours(*inputs).scores, theirs(*inputs)
    off = float((here - there).abs().max() / there.abs().max())
    if not off < 1e-3:
        raise RuntimeError(f"scores differ from those of the published code by {off:.1e}")
