"""How much the scores depend on each weight of the backbone: its diagonal Fisher information."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from clipvil_mmf.fusion import Text
from clipvil_mmf.tuning.method import Network
from clipvil_mmf.vision import Regions
from mmf_bridge.common.progress import Progress

logger = logging.getLogger(__name__)


class Sample(NamedTuple):
    """One question, its image and its labels: what the network's forward takes, and targets.

    ``loss`` of scores (1, labels) and targets is the negative log-likelihood, as the task has it.
    """

    images: Tensor | Regions
    image_index: Tensor
    input_ids: Tensor
    input_mask: Tensor
    segment_ids: Tensor
    targets: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]


def fisher_information(
    network: Network, weights: Sequence[nn.Parameter], samples: Iterable[Sample], count: int
) -> dict[nn.Parameter, Tensor]:
    """The sum of the squared gradients of the samples' log-likelihoods (LST, arXiv 2206.06522).

    The likelihood is that of the backbone with the answer head on top, without dropout; the image
    encoder runs under `no_grad`. Processes add up what each has of its own samples.

    Args:
        network: is in evaluation mode; its parameters stay as they are.
        weights: of its fusion.
        samples: of the train split, those of this process; at least one.
        count: how many are taken, of all processes together, or as many as there are.
    """
    trainable = [weight.requires_grad for weight in weights]
    sums = [torch.zeros_like(weight) for weight in weights]
    rank, processes = _rank_and_processes()
    seen, share = 0, -(-count // processes)
    for weight in weights:
        weight.requires_grad_(True)
    try:
        with Progress("weighing the backbone", share, "samples", shown=rank == 0) as progress:
            for _, sample in zip(range(share), samples, strict=False):
                for total, gradient in zip(sums, _gradients(network, weights, sample), strict=True):
                    total.addcmul_(gradient, gradient)
                seen += 1
                progress.update()
    finally:
        for weight, was in zip(weights, trainable, strict=True):
            weight.requires_grad_(was)
    if not seen:
        raise ValueError("initialization: fisher needs samples, but the train split gives none.")
    logger.info("importance of the backbone's weights: by the answers to %s questions", f"{seen:,}")
    if processes > 1:
        for total in sums:
            dist.all_reduce(total)
    return dict(zip(weights, sums, strict=True))


def _gradients(
    network: Network, weights: Sequence[nn.Parameter], sample: Sample
) -> Sequence[Tensor]:
    with torch.no_grad():
        text = Text(sample.input_ids, sample.input_mask, sample.segment_ids)
        visual = network.encode_visual(sample.images)
        text, visual = network.paired(text, visual, sample.image_index)
    with torch.enable_grad():
        scores = network.classifier(network.fusion(text, visual).reshape(1, -1))
        return torch.autograd.grad(sample.loss(scores, sample.targets), weights)


def _rank_and_processes() -> tuple[int, int]:
    """This process's number and how many there are; networks need no bridge that could say so."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
