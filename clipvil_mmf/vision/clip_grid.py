"""Grid features from the vision tower of any CLIP model that open_clip knows or can build."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from clipvil_mmf.config import ConfigError, check_at_least, check_choice, from_config, near_matches
from clipvil_mmf.layers.published import CLIP, Names
from clipvil_mmf.sharing.repositories import Repository, bare_repository, find_repository
from clipvil_mmf.vision import resnet_inference
from clipvil_mmf.vision.encoder import ImageEncoder
from clipvil_mmf.vision.hub_towers import as_open_clip, fetch_tower
from clipvil_mmf.vision.positions import resample_positions
from clipvil_mmf.weight_files import WeightFileError, read_weights

logger = logging.getLogger(__name__)

PUBLISHED_TOWER = "RN50x4"
_WEIGHT_FILES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
BATCH_NORM_MODES = ("train", "eval")

# Where a file has the vision tower: a CLIP model, a file of `clipvil import`.
_TOWER_PREFIXES = ("visual.", "image_encoder.tower.")

# How the names of what is not the vision tower begin.
_TEXT_TOWER = (
    *("transformer.", "text.", "token_embedding.", "positional_embedding", "ln_final."),
    "text_projection",
)
_SETTINGS = ("input_resolution", "context_length", "vocab_size")

# open_clip builds a text tower beside the vision tower; this one costs nothing and is dropped.
_NO_TEXT = {"context_length": 1, "vocab_size": 1, "width": 1, "heads": 1, "layers": 1}


@dataclass
class ResNetTowerConfig:
    """`tower` of a small CLIP ResNet: `{layers: [1, 1, 1, 1], width: 16}`."""

    # Bottleneck blocks of the four stages.
    layers: list[int]
    # Channels of the stem; the last stage has 32 times as many.
    width: int = 64

    def __post_init__(self) -> None:
        if len(self.layers) != 4 or min(self.layers) < 1:
            raise ConfigError(
                f"layers: got {self.layers}, expected four stages of at least one block "
                f"(a ResNet), or one number (a ViT)."
            )
        if self.width < 2 or self.width % 2:
            raise ConfigError(f"width: got {self.width}, expected an even number.")


@dataclass
class ViTTowerConfig:
    """`tower` of a small ViT: `{layers: 4, width: 128, patch_size: 16, head_width: 64}`."""

    # Transformer blocks.
    layers: int
    # Channels of every token; a multiple of head_width.
    width: int = 768
    # Side of a patch in pixels: the stride of the grid.
    patch_size: int = 16
    # Channels of one attention head.
    head_width: int = 64
    # Hidden width of the feed-forward, as a multiple of width.
    mlp_ratio: float = 4.0
    # Side of the square image whose positions are stored; other sizes are interpolated.
    image_size: int = 224

    def __post_init__(self) -> None:
        for key in ("layers", "width", "patch_size", "head_width"):
            check_at_least(key, getattr(self, key), 1)
        if self.width % self.head_width:
            raise ConfigError(f"head_width: {self.head_width} does not divide width {self.width}.")
        check_at_least("image_size", self.image_size, self.patch_size)


@dataclass
class OpenClipTowerConfig:
    """`tower` as open_clip describes one: `{vision_cfg: {layers: 12, width: 768, ...}}`."""

    # The section vision_cfg of a model of open_clip.
    vision_cfg: dict[str, Any]
    # Whether its activation is QuickGELU, as OpenAI's models have it, or GELU.
    quick_gelu: bool = False


@dataclass
class ClipGridConfig:
    """`params` of the image encoder `clip_grid`."""

    # A model of open_clip, such as ViT-B-32; null is RN50x4, or what `tower` describes.
    name: str | None = None
    # Weights: null (random, nothing is downloaded), a tag of open_clip such as openai (downloaded
    # once), a file, or a CLIP model of the hub in open_clip's or transformers' layout,
    # hf-hub:org/name or org/name, which says what tower it is: leave name and tower out then. For a
    # ViT trained by OpenAI from a file, name the -quickgelu model.
    pretrained: str | None = None
    # A tower described here instead of named: the keys of ResNetTowerConfig, ViTTowerConfig or
    # OpenClipTowerConfig.
    tower: dict[str, Any] | None = None
    # Which stage (ResNet: the stem and four stages) or block (ViT) gives the grid, counted as a
    # Python index; later ones are dropped. -2 of a ResNet is a grid twice as fine.
    layer: int = -1
    # What the BatchNorms of a ResNet do in training; in evaluation they always use their running
    # statistics.
    # train (as published, also where the tower is frozen): each step normalises by the statistics
    # of its own batch, and the running ones move. An image's features then depend on the others of
    # its batch, and the statistics of one process (rank 0) are kept.
    # eval: the pre-trained running statistics, which never move: for a frozen tower whose features
    # should be a function of the image alone, and for batches of few images.
    batch_norm: str = "train"
    # Multiply the BatchNorms of a ResNet into its convolutions wherever they use their running
    # statistics and no graph is kept: in prediction, and with batch_norm: eval in the training of a
    # frozen tower. A quarter faster; features differ by roundings, about 1e-6.
    fold_batch_norm: bool = False
    # How many images a tower under no_grad takes at once; 0 for all of a batch. 1 needs the least
    # memory. Not in training with batch_norm: train, whose statistics are those of all.
    images_at_once: int = 0
    # The tower is not trained: its parameters ask for no gradients, and it runs under no_grad, so
    # that it keeps no activations. Its running statistics still move if batch_norm is train.
    frozen: bool = False
    # Pixels right and below that fill no cell: error, or drop, as CLIP-ViL-Direct does with images
    # of 600x1000 pixels, whose grid is 18x31.
    partial_cells: str = "error"
    # Lay convolutional towers out as NHWC. auto does in half precision, whose convolutions are made
    # for it, and not in float32: there a small ResNet trains 1.2 to 1.6 times faster on CPU with
    # true, but its BatchNorm sums a little less exactly. A frozen tower's layout is NHWC anyway.
    channels_last: Any = "auto"

    def __post_init__(self) -> None:
        if self.name is not None and self.tower is not None:
            raise ConfigError(
                "name: set either name (a model of open_clip) or tower (a description), "
                f"got name {self.name!r} and tower {self.tower!r}."
            )
        if find_repository(self.name or "") is not None:
            raise ConfigError(
                f"name: {self.name} is a repository, which says what tower it is: leave name out, "
                f"and set pretrained to {self.name}."
            )
        if self.tower is None and self.repository is None:
            self.name = self.name or PUBLISHED_TOWER
        check_choice("batch_norm", self.batch_norm, BATCH_NORM_MODES)
        check_choice("partial_cells", self.partial_cells, ("error", "drop"))
        check_at_least("images_at_once", self.images_at_once, 0)
        if self.channels_last not in (True, False, "auto"):
            raise ConfigError(
                f"channels_last: got {self.channels_last!r}, expected true, false or auto."
            )

    @property
    def repository(self) -> Repository | None:
        """The repository of the hub whose tower it is, or None."""
        given = self.pretrained or ""
        found = find_repository(given)
        is_file = Path(given).suffix in _WEIGHT_FILES
        if found is None and not is_file and self.name is None and self.tower is None:
            found = bare_repository(given)
        return found


class ClipGridEncoder(ImageEncoder):
    """The vision tower of a CLIP model up to its last grid of features.

    Neither CLIP's text tower nor the tower's own pooling is kept, so that every parameter takes
    part in every step. ResNets come without their attention pool (CLIP-ViL, arXiv 2107.06383);
    ViTs give their patch tokens after the final LayerNorm, without the class token.

    Args:
        config: which tower, from where, in which mode.

    Attributes:
        out_channels: C, the width of the grid features.
        stride: side of a cell in pixels; it must divide the image's height and width.

    Raises:
        ConfigError: an unknown tower or tag (near matches are named), a file that cannot be read
            or holds the weights of another tower, a `layer` that the tower lacks.
    """

    published_names: ClassVar[Names] = {"tower.": f"{CLIP}visual."}
    published_unused: ClassVar[Names] = {
        f"{CLIP}visual.attnpool.": "attention pool: the grid is taken before it",
        f"{CLIP}visual.proj": "projection to CLIP's joint space: the grid is taken before it",
        **{f"{CLIP}{name}": "CLIP's text tower" for name in _TEXT_TOWER},
        **{f"{CLIP}{name}": "CLIP's contrastive loss" for name in ("logit_scale", "logit_bias")},
        **{f"{CLIP}{name}": "CLIP's own settings" for name in _SETTINGS},
    }

    def __init__(self, config: ClipGridConfig) -> None:
        super().__init__()
        from open_clip.transformer import VisionTransformer

        self.config = config
        self.tower, file = _build_tower(config)
        whole = set(self.tower.state_dict())
        self._layer, self.out_channels, self.stride = _cut(self.tower, config.layer)
        if file is not None:
            _load_file(self.tower, file, droppable=whole)
        self._fixed_size = _fixed_size(self.tower)
        if config.frozen:
            self.tower.requires_grad_(False)
        self._is_convolutional = not isinstance(self.tower, VisionTransformer)
        if config.channels_last is True and self._is_convolutional:
            self.tower.to(memory_format=torch.channels_last)
        self._said: set[str] = set()
        self._warn_of_keys_without_effect()
        self.train(self.training)  # a fresh module is in training mode, its BatchNorm may not be

    @classmethod
    def saved_params(cls, params: Mapping[str, Any]) -> dict[str, Any]:
        """See :meth:`ImageEncoder.saved_params`.

        A tower of the hub is described in full, and what weights of a tag say of a named one, that
        its activation is QuickGELU, is said by its name.
        """
        saved = super().saved_params(params)
        config = from_config(ClipGridConfig, params, "params")
        if config.repository is not None:
            saved["tower"] = fetch_tower(config.repository).tower
        elif config.name is not None and config.pretrained is not None:
            saved["name"] = _name_with_activation(config.name, config.pretrained)
        return saved

    def _warn_of_keys_without_effect(self) -> None:
        """Say which keys a tower without BatchNorms passes over."""
        if self._batch_norms():
            return
        given = {
            "batch_norm: eval": not self.has_moving_statistics,
            "fold_batch_norm: true": self.config.fold_batch_norm,
            "channels_last: true": self.config.channels_last is True and not self._is_convolutional,
        }
        for key in (key for key, is_given in given.items() if is_given):
            logger.warning("image_encoder.params.%s has no effect: the tower is not a ResNet", key)

    def _batch_norms(self) -> list[nn.Module]:
        return [module for module in self.tower.modules() if isinstance(module, _BatchNorm)]

    def train(self, mode: bool = True) -> ClipGridEncoder:
        """Switch modes; BatchNorm stays in evaluation mode if the configuration says so."""
        super().train(mode)
        for module in () if self.has_moving_statistics else self._batch_norms():
            module.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> (B, C, H // stride, W // stride).

        Raises:
            ValueError: the images are not (B, 3, H, W), or the stride does not divide H and W and
                `partial_cells` is `error`.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"Expected images (B, 3, H, W), got shape {tuple(images.shape)}.")
        height, width = images.shape[-2:]
        got = f"Images are {height}x{width} pixels (height x width), but"
        is_whole = height % self.stride == width % self.stride == 0
        if min(height, width) < self.stride or not (
            is_whole or self.config.partial_cells == "drop"
        ):
            raise ValueError(
                f"{got} the tower's stride is {self.stride}: pad or resize them to multiples of "
                "it, or set image_encoder.params.partial_cells to drop."
            )
        if self._fixed_size not in (None, (height, width)):
            raise ValueError(
                f"{got} {self.config.name} comes from timm and takes "
                f"{'x'.join(map(str, self._fixed_size))} alone: resize them, or use a ViT of "
                "open_clip itself, which takes any size."
            )
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.frozen):
            count = self.config.images_at_once
            if not count or torch.is_grad_enabled() or self._uses_batch_statistics():
                return self._encode(images)
            return torch.cat([self._encode(part) for part in images.split(count)])

    @property
    def has_moving_statistics(self) -> bool:
        """Whether training moves the running statistics of its BatchNorms."""
        return self.config.batch_norm == "train"

    @property
    def is_pretrained(self) -> bool:
        """Whether the tower is built with weights of a file or a tag."""
        return self.config.pretrained is not None

    def _uses_batch_statistics(self) -> bool:
        """Whether an image's features depend on the others of its batch."""
        return self.training and self.has_moving_statistics

    def _encode(self, images: Tensor) -> Tensor:
        frugal = self.config.fold_batch_norm or self._uses_batch_statistics()
        # A compiled graph saves those passes by itself, and that module's steps depend on sizes.
        frugal = frugal and not torch.compiler.is_compiling()
        if frugal and not torch.is_grad_enabled() and resnet_inference.can_run(self.tower):
            return resnet_inference.grid_features(self.tower, images, self._layer)
        features = _GridFeatures(self.tower, self._layer)
        is_nhwc = self._is_nhwc(images)  # as pixels come, whatever the tower computes in
        layout = torch.channels_last if is_nhwc else torch.contiguous_format
        images = images.contiguous(memory_format=layout)
        if self._is_convolutional:
            return features(images)
        positions = {"tower.positional_embedding": self.positions(images)}
        return functional_call(features, positions, (images,))

    @property
    def has_positions(self) -> bool:
        """Whether the tower is a ViT of open_clip, with a position table."""
        return not self._is_convolutional

    def positions(self, images: Tensor) -> Tensor:
        """A ViT's position table at the size of the images' grid."""
        return resample_positions(
            self.tower.positional_embedding,
            tuple(self.tower.grid_size),
            (images.shape[-2] // self.stride, images.shape[-1] // self.stride),
        )

    def _is_nhwc(self, images: Tensor) -> bool:
        """Whether the tower computes in NHWC; what `auto` has chosen is logged once."""
        if self.config.channels_last != "auto" or not self._is_convolutional:
            return self.config.channels_last is True and self._is_convolutional
        kind = images.device.type
        dtype = images.dtype
        # Not asked whether there is an autocast for it: that would break a compiled graph.
        if kind != "meta" and torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
        is_half = dtype.itemsize == 2
        layout, name = "NHWC" if is_half else "NCHW", str(dtype).removeprefix("torch.")
        choice = f"{layout}, in {name} on {kind}"
        # A compiled forward logs nothing: that would break its graph.
        if not torch.compiler.is_compiling() and choice not in self._said:
            self._said.add(choice)
            logger.info("image_encoder.params.channels_last: auto is %s", choice)
        return is_half


class _GridFeatures(nn.Module):
    """`forward_intermediates` as a plain forward, which `functional_call` needs."""

    def __init__(self, tower: nn.Module, layer: int) -> None:
        super().__init__()
        self.tower, self.layer = tower, layer

    def forward(self, images: Tensor) -> Tensor:
        output = self.tower.forward_intermediates(
            images, indices=[self.layer], normalize_intermediates=True, intermediates_only=True
        )
        return output["image_intermediates"][0]


def _build_tower(config: ClipGridConfig) -> tuple[nn.Module, Path | None]:
    """The whole vision tower, and the file whose weights it still lacks."""
    import open_clip  # a start without a tower does not wait for it

    name = None if config.name is None else config.name.replace("/", "-")
    tags = []
    if name is not None:
        if name not in open_clip.list_models():
            raise ConfigError(
                f"name: open_clip {open_clip.__version__} has no model {config.name!r}."
                f"{near_matches(name, open_clip.list_models())} Choices: RN50, RN101, RN50x4, "
                f"RN50x16, RN50x64, ViT-B-32, ViT-B-16, ViT-L-14 and the others of "
                f"open_clip.list_models()."
            )
        tags = open_clip.list_pretrained_tags_by_model(name)
        if config.pretrained is not None and open_clip.is_pretrained_cfg(name, config.pretrained):
            return _tagged_tower(name, config.pretrained), None
    if config.repository is not None:
        return _tower_of_hub(config)
    file = None if config.pretrained is None else Path(config.pretrained)
    if file is not None and not file.is_file():
        raise ConfigError(
            f"pretrained: {config.pretrained!r} is neither a file nor a tag of "
            f"{name or 'the described tower'}.{near_matches(config.pretrained, tags)} "
            f"Tags: {', '.join(tags) or 'none'}; null trains from scratch."
        )
    if name is None:
        # The width of a pooled output that is never computed.
        model = {"embed_dim": 1, **_described(config.tower)}
    else:
        model = open_clip.get_model_config(name)
    return _clip(model).visual, file


def _clip(model: Mapping[str, Any]) -> nn.Module:
    """A CLIP model of random weights, without a text tower to speak of.

    By `open_clip.create_model`, which does the same, there would be a warning of random weights.
    """
    import open_clip

    vision = dict(model["vision_cfg"])
    if vision.get("timm_model_name"):
        vision["timm_model_pretrained"] = False
    quick_gelu = model.get("quick_gelu", False)
    try:
        return open_clip.CLIP(model["embed_dim"], vision, dict(_NO_TEXT), quick_gelu)
    except TypeError as error:  # a key of a newer open_clip, or of a file's author
        raise ConfigError(f"tower.vision_cfg: {error}") from error


def _tower_of_hub(config: ClipGridConfig) -> tuple[nn.Module, Path]:
    """The tower of a repository, and the file whose weights it still lacks."""
    for key in ("name", "tower"):
        if getattr(config, key) is not None:
            raise ConfigError(
                f"{key}: got {getattr(config, key)!r}, but pretrained, {config.repository}, says "
                f"what tower it is: set {key} to null."
            )
    found = fetch_tower(config.repository)
    return _clip({"embed_dim": 1, **_described(found.tower)}).visual, found.weights


def _described(description: Mapping[str, Any]) -> dict[str, Any]:
    """What `tower` describes, as open_clip's `vision_cfg` and `quick_gelu`."""
    if "vision_cfg" in description:
        return dict(vars(from_config(OpenClipTowerConfig, description, "tower")))
    resnet = isinstance(description.get("layers"), (list, tuple))
    kind = ResNetTowerConfig if resnet else ViTTowerConfig
    return {"vision_cfg": dict(vars(from_config(kind, description, "tower")))}


def _tagged_tower(name: str, tag: str) -> nn.Module:
    """A named tower with open_clip's weights, which it downloads once and keeps."""
    import open_clip

    quick_gelu = bool(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False))
    if open_clip.get_model_config(name).get("quick_gelu", False) and not quick_gelu:
        raise ConfigError(
            f"pretrained: {tag!r} was trained with GELU, but {name} computes QuickGELU: "
            f"use name {name.removesuffix('-quickgelu')}."
        )
    return open_clip.create_model(name, pretrained=tag, force_quick_gelu=quick_gelu).visual


def _name_with_activation(name: str, pretrained: str) -> str:
    """The model of open_clip that computes what weights of a tag, or of a file, make of another."""
    import open_clip

    plain, quick = name.replace("/", "-"), f"{name.replace('/', '-')}-quickgelu"
    tag, model = open_clip.get_pretrained_cfg(plain, pretrained), open_clip.get_model_config(plain)
    is_resnet = model is not None and isinstance(model["vision_cfg"].get("layers"), list)
    if is_resnet or not (tag or {}).get("quick_gelu") or quick not in open_clip.list_models():
        return name
    return quick


def _load_file(tower: nn.Module, path: Path, droppable: Collection[str]) -> None:
    """Load a file of a CLIP model or its vision tower; keys in `droppable` may be left over."""
    try:
        visual = {key.removeprefix("module."): value for key, value in read_weights(path).items()}
        visual = as_open_clip(visual)
    except WeightFileError as error:
        raise ConfigError(f"pretrained: {error}") from error
    for prefix in _TOWER_PREFIXES:
        part = {k.removeprefix(prefix): v for k, v in visual.items() if k.startswith(prefix)}
        visual = part or visual
    expected = tower.state_dict()
    problems = {
        "lacks": [key for key in expected if key not in visual],
        "unknown": [key for key in visual if key not in expected and key not in droppable],
        "shape": [
            f"{key} {tuple(visual[key].shape)} instead of {tuple(value.shape)}"
            for key, value in expected.items()
            if key in visual and visual[key].shape != value.shape
        ],
    }
    listed = [
        f"{what}: {', '.join(keys[:3])}{f' and {len(keys) - 3} more' * (len(keys) > 3)}"
        for what, keys in problems.items()
        if keys
    ]
    if listed:
        raise ConfigError(f"pretrained: {path} holds another tower ({'; '.join(listed)}).")
    tower.load_state_dict({key: visual[key] for key in expected})


def _cut(tower: nn.Module, layer: int) -> tuple[int, int, int]:
    """Drop what lies behind the wanted grid, and say (its index, its channels, its stride)."""
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    if isinstance(tower, ModifiedResNet):
        stage = _absolute(layer, 5)
        tower.attnpool = None
        for later in range(stage + 1, 5):
            setattr(tower, f"layer{later}", None)
        finer = 2 ** max(stage - 1, 0)  # a stage after the first halves the grid
        return stage, tower.conv3.out_channels * (4 * finer if stage else 1), 4 * finer
    if isinstance(tower, VisionTransformer):
        block = _absolute(layer, len(tower.transformer.resblocks))
        tower.prune_intermediate_layers([block])
        tower.patch_dropout = nn.Identity()  # a grid has every patch
        if tower.attn_pool is not None:  # CoCa's final LayerNorm belongs to its pooling
            tower.attn_pool = tower.attn_pool_contrastive = None
            tower.ln_post = nn.Identity()
        return block, tower.conv1.out_channels, tower.patch_size[0]
    if isinstance(tower, TimmModel) and hasattr(tower.trunk, "prune_intermediate_layers"):
        info = tower.trunk.feature_info
        stage = _absolute(layer, len(info))
        tower.trunk.prune_intermediate_layers([stage])
        tower.head = nn.Identity()
        return stage, info[stage]["num_chs"], int(info[stage]["reduction"])
    raise ConfigError("name: this tower has no forward_intermediates, so no grid can be taken.")


def _absolute(layer: int, count: int) -> int:
    if not -count <= layer < count:
        raise ConfigError(
            f"layer: got {layer}, but the tower has {count} stages or blocks: "
            f"expected {-count} to {count - 1}."
        )
    return layer % count


def _fixed_size(tower: nn.Module) -> tuple[int, int] | None:
    """(H, W) where timm's ViTs take one image size only, None where any size will do."""
    from open_clip.timm_model import TimmModel

    embed = getattr(tower.trunk, "patch_embed", None) if isinstance(tower, TimmModel) else None
    return tuple(embed.img_size) if embed is not None and embed.strict_img_size else None
