"""The grid of a CLIP ResNet where no graph is kept: in place, with as few passes as can be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipvil_mmf.layers.dtypes import at_least_float32

if TYPE_CHECKING:
    from open_clip.modified_resnet import Bottleneck, ModifiedResNet

# Values whose variance is taken at once on CPU: 256 KB, which stay in its cache.
_AT_ONCE = 2**16
# In float64, for a covariance: 5 MB at the widest.
_PIXELS = 4096
# Bytes of features that are looked at, or joined, together elsewhere.
_PART = 2**26
# Of a convolution's weight, convolved at once: 4 MB.
_VALUES = 2**20


def can_run(tower: nn.Module) -> bool:
    """Whether :func:`grid_features` computes what the tower's own forward does.

    Not where somebody hooked a module of it, such as an adapter: hooks are not called here.
    """
    from open_clip.modified_resnet import ModifiedResNet

    return isinstance(tower, ModifiedResNet) and all(
        type(module) is not nn.SyncBatchNorm
        and not module._forward_hooks
        and not module._forward_pre_hooks
        for module in tower.modules()
    )


@torch.no_grad()
def grid_features(tower: ModifiedResNet, images: Tensor, stage: int) -> Tensor:
    """What a stage of the tower gives, 0 being the stem's.

    BatchNorm, sums and ReLU are computed in place. A block's last convolution, its BatchNorm and
    the sum with the block's input are one matrix product on CPU; elsewhere they take some images of
    the first stage at a time, twice in training, the first time for the statistics. So of the
    widest features there is never more than one copy. Running statistics move as ever.

    Args:
        tower: in either mode, even BatchNorm by BatchNorm.
        images: (B, 3, H, W) float.
        stage: 0 to 4, whose grid (B, C, h, w) is returned.
    """
    # NHWC is faster, and takes less of oneDNN's working memory.
    features = images.contiguous(memory_format=torch.channels_last)
    for number in (1, 2, 3):
        conv, norm = getattr(tower, f"conv{number}"), getattr(tower, f"bn{number}")
        features = _convolve(features, conv, norm).relu_()
    features = tower.avgpool(features)
    for number in range(1, stage + 1):
        for block in getattr(tower, f"layer{number}"):
            # A new name for every result would keep the block's input until its end.
            shortcut = features if block.downsample is None else block.downsample[0](features)
            features = _convolve(features, block.conv1, block.bn1).relu_()
            features = _convolve(features, block.conv2, block.bn2).relu_()
            features = block.avgpool(features)
            # The widest features are those of the first stage.
            join = _join_in_parts if number == 1 and not _by_hand(features) else _join
            features = join(block, shortcut, features)
    return features


def _join_in_parts(block: Bottleneck, shortcut: Tensor, features: Tensor) -> Tensor:
    """As :func:`_join`, of some images at a time; in training they are convolved twice."""
    if block.downsample is not None:
        shortcut = _convolve(shortcut, *block.downsample[1:])
    conv, norm = block.conv3, block.bn3
    wide = shortcut[0].numel() * shortcut.element_size()
    parts = features.split(max(1, _PART // wide))
    if norm.training:
        scale, bias = _track(norm, *_statistics(_in_parts(part, conv) for part in parts))
    else:
        scale, bias = _running(norm)
    for part, output in zip(parts, shortcut.split(len(parts[0])), strict=True):
        output.add_(_in_parts(part, conv, scale, bias)).relu_()
    return shortcut


def _join(block: Bottleneck, shortcut: Tensor, features: Tensor) -> Tensor:
    """A block's output (B, 4C, h, w); both inputs are overwritten.

    Args:
        block: a bottleneck.
        shortcut: the block's input (B, 4C, h, w), or (B, C', h, w) if its projection comes yet.
        features: (B, C, h, w), what conv3 takes.
    """
    batch, channels, height, width = features.shape
    # Of few pixels the covariance costs more than it saves: in RN50x4's last stage.
    if not _by_hand(features) or batch * height * width < 2 * channels:
        if block.downsample is not None:
            shortcut = _convolve(shortcut, *block.downsample[1:])
        return _convolve(features, block.conv3, block.bn3).add_(shortcut).relu_()
    rows = _pixels(shortcut)
    if block.downsample is not None:
        weight, bias = _linear(rows, *block.downsample[1:])
        rows = torch.addmm(bias, rows, weight)
    pixels = _pixels(features)
    weight, bias = _linear(pixels, block.conv3, block.bn3)
    rows.add_(bias).addmm_(pixels, weight).relu_()
    return rows.view(batch, height, width, -1).permute(0, 3, 1, 2)


def _linear(pixels: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """A convolution of 1x1 and its BatchNorm as weight (C, 4C) and bias (4C,) of one product.

    In training the statistics of the output follow from the mean and the covariance of the input
    (in float64: a channel may vary little though its inputs do), which is four times narrower, so
    that the output is written once, and finished.

    Args:
        pixels: (P, C) float32, the input; in training its mean is subtracted in place.
        conv: without bias.
        norm: in either mode.
    """
    weight = conv.weight.flatten(1)
    if norm.training:
        mean = pixels.mean(0)
        pixels.sub_(mean)
        parts = (part.double() for part in pixels.split(_PIXELS))
        covariance = sum(part.T @ part for part in parts) / len(pixels)
        wide = weight.double()
        variance = (wide @ covariance).mul_(wide).sum(1).clamp_min_(0).float()
        scale, _ = _track(norm, weight @ mean, variance, len(pixels))
        bias = norm.bias
    else:
        scale, bias = _running(norm)
    return (weight * scale.view(-1, 1)).T, bias


def _convolve(features: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """Convolution and BatchNorm; the convolutions of these towers have no bias."""
    if not norm.training:
        return _in_parts(features, conv, *_running(norm))
    output = _in_parts(features, conv)
    size = max(1, _PART // (output[0].numel() * output.element_size()))
    parts = (output,) if output.is_cuda else output.split(size)
    scale, bias = _track(norm, *_statistics(parts))
    if output.is_cuda:  # half precision times float32 takes twice as long elementwise
        zeros, ones = torch.zeros_like(bias), torch.ones_like(bias)
        return torch.batch_norm_elemt(output, scale, bias, zeros, ones, 0.0, out=output)
    return torch.addcmul(bias.view(-1, 1, 1), output, scale.view(-1, 1, 1), out=output)


def _statistics(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor, int]:
    """Mean and variance (C,) of each channel of all parts, (b, C, h, w) each; how many values.

    Those of the parts are put together as Chan, Golub and LeVeque do (1983), which is as exact as
    those of all at once. Of half precision they are float32.
    """
    found = [statistics for part in parts for statistics in _of_part(part)]
    sizes, means, variances = zip(*found, strict=True)
    count, means = sum(sizes), torch.stack(means)
    shares = torch.tensor([[size / count] for size in sizes], dtype=means.dtype)
    shares = shares.to(means.device, non_blocking=True)
    mean = (shares * means).sum(0)
    variance = (shares * (torch.stack(variances) + (means - mean).square())).sum(0)
    return mean, variance, count


def _of_part(features: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Size, mean and variance (C,) of features (b, C, h, w), on CPU of some at a time."""
    pixels = _pixels(features)
    if features.is_cuda:  # without a copy in float32; a root of zero is given as zero
        mean, root = torch.batch_norm_stats(features, 0.0)
        yield len(pixels), mean, torch.where(root == 0, 0.0, root**-2)
        return
    if features.device.type != "cpu":
        variance, mean = torch.var_mean(at_least_float32(pixels), 0, correction=0)
        yield len(pixels), mean, variance
        return
    for part in map(at_least_float32, pixels.split(max(1, _AT_ONCE // pixels.shape[1]))):
        mean = part.mean(0)
        # `var_mean` takes ten times as long.
        yield len(part), mean, (part - mean).square_().mean(0)


def _by_hand(features: Tensor) -> bool:
    """Whether a block is joined by matrix products: for float32 on CPU.

    They need the covariance in float64, which most cards are slow at.
    """
    return features.device.type == "cpu" and features.dtype == torch.float32


def _in_parts(
    features: Tensor, conv: nn.Conv2d, scale: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """A convolution, on CPU some output channels at a time where its weight is large.

    oneDNN copies the weight twice into layouts of its own, and the scaled weight is one more: in
    the last stage that would be more memory than all features. `scale` (C',) multiplies the
    weight's rows, and `bias` (C',) stands for the convolution's own.
    """
    weight = conv.weight
    size = len(weight)
    if weight.device.type == "cpu":
        size = max(32, _VALUES // weight[0].numel() // 32 * 32)
    outputs = []
    for start in range(0, len(weight), size):
        rows = slice(start, start + size)
        part = weight[rows] if scale is None else weight[rows] * scale[rows].view(-1, 1, 1, 1)
        shift = None if bias is None else bias[rows]
        outputs.append(F.conv2d(features, part, shift, conv.stride, conv.padding))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)


def _pixels(features: Tensor) -> Tensor:
    """(B, C, h, w), laid out as NHWC -> (B * h * w, C), in the same memory."""
    return features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])


def _track(
    norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Move the running statistics; what a channel is multiplied by, and what is added then."""
    norm.num_batches_tracked.add_(1)
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(variance * (count / max(count - 1, 1)), norm.momentum)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return scale, norm.bias - mean * scale


def _running(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """By what a channel is multiplied in evaluation, and what is added then: (C,) each."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale
