"""Models of rc7: FFT functions that are gone, and tensors put on the GPU wherever the model is.

Encoders and BERT classes that changed their calling convention are in `mmf_bridge.rc7.bert`.
"""

from __future__ import annotations

from types import ModuleType

import torch

from mmf_bridge.common.source import edited


def patch_fusions(module: ModuleType) -> None:
    """Compact bilinear pooling by `torch.fft` (`torch.rfft` and `torch.irfft` are gone)."""
    module.CompactBilinearPooling.forward = _compact_bilinear


def patch_embeddings(module: ModuleType) -> None:
    """Visual position ids go where the visual embeddings are."""
    cls = module.BertVisioLinguisticEmbeddings
    cls.forward = edited(cls.forward, {".cuda()": ".to(visual_embeddings.device)"})


def patch_visual_bert(module: ModuleType) -> None:
    """The image mask goes where the image features are."""
    cls = module.VisualBERT
    cls.add_custom_params = edited(
        cls.add_custom_params, {".cuda()": ".to(visual_embeddings.device)"}
    )


def patch_vilbert(module: ModuleType) -> None:
    """Boxes, targets and the image mask go where the token ids are."""
    cls = module.ViLBERT
    cls.get_image_and_text_features = edited(
        cls.get_image_and_text_features, {".cuda()": ".to(bert_input_ids.device)"}
    )
    cls.forward = edited(cls.forward, {".cuda()": '.to(params["input_ids"].device)'})


def _compact_bilinear(self: torch.nn.Module, x1: torch.Tensor, x2: torch.Tensor) -> torch.Tensor:
    """Count-sketch product of two inputs (Gao et al., arXiv 1511.06062).

    Args:
        self: MMF's `CompactBilinearPooling`.
        x1: `(B, D1)` or an image `(B, D1, H, W)`.
        x2: `(B, D2)` or an image `(B, D2, H, W)`, with as many dimensions as `x1`.

    Returns:
        `(B, output_dim)`; for images without sum pooling `(B, output_dim, H, W)`.

    Raises:
        ValueError: the inputs differ in their number of dimensions.
    """
    if x1.dim() != x2.dim():
        raise ValueError(
            "CompactBilinearPooling: both inputs must have the same number of dimensions, got "
            f"{tuple(x1.shape)} and {tuple(x2.shape)}."
        )
    is_image = x1.dim() == 4
    if is_image:
        x1, x2 = x1.permute(0, 2, 3, 1), x2.permute(0, 2, 3, 1)
    spectrum = torch.fft.rfft(x1.matmul(self.sketch1)) * torch.fft.rfft(x2.matmul(self.sketch2))
    product = torch.fft.irfft(spectrum, n=self.output_dim) * self.output_dim
    if is_image:
        return product.sum(dim=[1, 2]) if self.sum_pool else product.permute(0, 3, 1, 2)
    return product
