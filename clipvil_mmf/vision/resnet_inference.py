"""The grid of a CLIP ResNet where no graph is kept: in place, with as few passes as can be."""

from __future__ import annotations

import torch
from open_clip.modified_resnet import Bottleneck, ModifiedResNet
from torch import Tensor, nn
from torch.nn import functional as F

# Squared at once for a variance: 5 MB at the widest.
_PIXELS = 4096


def can_run(tower: nn.Module) -> bool:
    """Whether :func:`grid_features` computes what the tower's own forward does.

    Not where somebody hooked a module of it, such as an adapter: hooks are not called here.
    """
    return isinstance(tower, ModifiedResNet) and all(
        type(module) is not nn.SyncBatchNorm
        and not module._forward_hooks
        and not module._forward_pre_hooks
        for module in tower.modules()
    )


@torch.no_grad()
def grid_features(tower: ModifiedResNet, images: Tensor, stage: int) -> Tensor:
    """What a stage of the tower gives, 0 being the stem's.

    ReLU and sums, and BatchNorm in training, are computed in place, so that beside a block's input
    and output nothing of their size is held; running statistics move as ever. In evaluation
    BatchNorm is multiplied into the convolutions.

    Args:
        tower: in either mode, even BatchNorm by BatchNorm.
        images: (B, 3, H, W) float.
        stage: 0 to 4.

    Returns:
        (B, C, h, w).
    """
    # On CPU NHWC is faster, and takes less of oneDNN's working memory.
    features = images.contiguous(memory_format=torch.channels_last)
    for number in (1, 2, 3):
        conv, norm = getattr(tower, f"conv{number}"), getattr(tower, f"bn{number}")
        features = _convolve(features, conv, norm).relu_()
    features = tower.avgpool(features)
    for number in range(1, stage + 1):
        for block in getattr(tower, f"layer{number}"):
            features = _block(block, features)
    return features


def _block(block: Bottleneck, features: Tensor) -> Tensor:
    output = _convolve(features, block.conv1, block.bn1).relu_()
    output = _convolve(output, block.conv2, block.bn2).relu_()
    output = _convolve(block.avgpool(output), block.conv3, block.bn3)
    if block.downsample is not None:
        pool, conv, norm = block.downsample
        features = _convolve(pool(features), conv, norm)
    return output.add_(features).relu_()


def _convolve(features: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """Convolution and BatchNorm; the convolutions of these towers have no bias."""
    if not norm.training:
        return F.conv2d(features, *_folded(conv, norm), conv.stride, conv.padding)
    output = F.conv2d(features, conv.weight, None, conv.stride, conv.padding)
    if output.dtype != torch.float32:
        return norm(output)  # which takes its statistics in float32
    mean = output.mean((0, 2, 3))
    output.sub_(mean.view(-1, 1, 1))
    variance = _mean_square(output)
    count = output.numel() // output.shape[1]
    norm.num_batches_tracked.add_(1)
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(variance * (count / max(count - 1, 1)), norm.momentum)
    scale = (norm.weight * torch.rsqrt(variance + norm.eps)).view(-1, 1, 1)
    return torch.addcmul(norm.bias.view(-1, 1, 1), output, scale, out=output)


def _mean_square(centred: Tensor) -> Tensor:
    """The mean square of each channel, (C,).

    Not by torch's own BatchNorm or `var_mean`: on CPU, with NHWC, the one is off by 1e-4, and the
    other takes ten times as long.
    """
    pixels = centred.permute(0, 2, 3, 1).reshape(-1, centred.shape[1])
    total = sum(part.square().sum(0) for part in pixels.split(_PIXELS))
    return total / len(pixels)


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that computes both, in evaluation."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return conv.weight * scale.view(-1, 1, 1, 1), norm.bias - norm.running_mean * scale
