"""A synthetic batch: the sizes of a real one, random numbers in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipvil_mmf.config import ConfigError
from clipvil_mmf.loss_functions import NO_CLASS
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.preprocessing import CLIP_MEAN, CLIP_STD, pixel_statistics
from clipvil_mmf.tasks import Task
from clipvil_mmf.vision import Grid, Regions

_MASKED_EACH = 7  # of 100 words 15 are masked


@dataclass(frozen=True)
class BatchSizes:
    """How large a batch is."""

    images: int = 2  # B, one question each; of a task with several images, samples
    height: int = 384  # of an image in pixels
    width: int = 640
    tokens: int = 20  # T, word pieces of a question, [CLS], [SEP] and padding included
    regions: int = 36  # R, of an image, where the network reads regions instead of images


@dataclass(frozen=True)
class Batch:
    """What a training step takes: as a loader gives it, on the device."""

    images: Mapping[str, Tensor] | Grid | Regions  # pixels with their statistics, or features
    texts: tuple[Tensor, ...]  # the other arguments of the network's forward
    targets: Tensor  # as the task makes them, one right label each

    def inputs_of(self, network: ClipVilNetwork) -> tuple[Any, ...]:
        """The arguments of the network's forward; pixels are normalised for each call."""
        images = self.images
        if isinstance(images, Mapping):
            images = network.image_encoder.inputs_of(images)
        return (images, *self.texts)


def synthetic_batch(
    network: ClipVilNetwork, sizes: BatchSizes, labels: int, task: Task, device: torch.device
) -> Batch:
    """Draw a batch that suits the network, for a head of so many labels.

    Half of the questions' second half is padding on average, as in data that is padded to a fixed
    length: without any, attention would be computed without its mask. Of a pre-training half of the
    sentences are of another image, and one word in seven is masked.
    """
    draw = torch.Generator().manual_seed(0)
    count, tokens, passes = sizes.images, sizes.tokens, task.passes
    width = sizes.width * (task.images_per_sample if task.joins_images else 1)
    encoder = network.image_encoder
    if "region_features" in encoder.batch_fields:
        shape = (passes * count, sizes.regions)
        images = Regions(
            torch.randn(*shape, encoder.out_channels, generator=draw).to(device),
            torch.rand(*shape, encoder.box_size, generator=draw).to(device),
        )
    elif {"grid_features", "projected_features"} & set(encoder.batch_fields):
        shape = (sizes.height // encoder.stride, sizes.width // encoder.stride)
        channels = network.fusion.hidden_size if encoder.gives_tokens else encoder.out_channels
        features = torch.randn(count, channels, *shape, generator=draw)
        images = Grid(features.half().to(device))
    elif "images" not in encoder.batch_fields:
        raise ConfigError(
            f"image_encoder.type: {type(encoder).__name__} reads {', '.join(encoder.batch_fields)} "
            "of a batch; a synthetic batch has images, or the features of grid_features or "
            "region_features."
        )
    else:
        shape = (passes * count, 3, sizes.height, width)
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw)
        statistics = pixel_statistics(CLIP_MEAN, CLIP_STD)
        images = {"images": pixels.to(device), "pixel_statistics": statistics.to(device)}
    words = network.fusion.config.vocab_size
    input_ids = torch.randint(0, words, (count, tokens), generator=draw)
    lengths = torch.linspace(max(1, tokens // 2), tokens, count + 1).long()[:count]
    input_mask = (torch.arange(tokens) < lengths[:, None]).long()
    right = torch.randint(0, max(1, labels), (count,), generator=draw).numpy()
    labelled = np.arange(0, count, 2 if task.pretrains else 1) if labels else np.arange(0)
    ones = np.ones(len(labelled), np.float32)
    pairs = SimpleNamespace(positions=labelled, rows=right[labelled], scores=ones)
    index = torch.arange(passes * count)
    index = index if passes == 1 else index.view(count, passes)
    texts = (index, input_ids, input_mask, torch.zeros_like(input_ids))
    targets = torch.from_numpy(task.targets(pairs, count, labels))
    if task.pretrains:
        is_masked = torch.arange(count * tokens).view(count, tokens) % _MASKED_EACH == 0
        words_there = torch.where(is_masked, input_ids, NO_CLASS)
        texts = (*texts, words_there, 1 - torch.arange(count) % 2, targets)
    return Batch(images, tuple(tensor.to(device) for tensor in texts), targets.to(device))
