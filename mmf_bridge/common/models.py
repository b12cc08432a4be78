"""Models: FFT functions that are gone, tensors put on the GPU wherever the model is, forward passes
that today's autograd refuses. BERT's classes are in `mmf_bridge.common.bert`.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch

from mmf_bridge.common.replace import replace
from mmf_bridge.common.source import edited


def patch_fusions(module: ModuleType) -> None:
    """Compact bilinear pooling by `torch.fft` (`torch.rfft` and `torch.irfft` are gone)."""
    module.CompactBilinearPooling.forward = _compact_bilinear


def patch_layers(module: ModuleType) -> None:
    """BAN's classifier drops out a copy: the gradient of the ReLU before it needs its output."""

    class WeightNormClassifier(module.WeightNormClassifier):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            for layer in self.main:
                if isinstance(layer, torch.nn.Dropout):
                    layer.inplace = False

    replace(module, WeightNormClassifier)


def patch_pythia(module: ModuleType) -> None:
    """Pythia's ablations embed words before they encode them; one reads the question it is for."""
    encode = "text_embedding_total = self.process_text_embedding(sample_list)"
    embed = {encode: f"sample_list.text = self.word_embedding(sample_list.text); {encode}"}
    zero = ".new_zeros(\n        text_embedding_total.size()\n    )"
    for cls, edits in (
        (module.PythiaImageOnly, embed),
        (module.PythiaQuestionOnly, {**embed, zero: "\n\n"}),
    ):
        cls.forward = edited(cls.forward, edits)


def patch_fusion_models(module: ModuleType) -> None:
    """ConcatBERT reads the features by the name that datasets give them."""
    cls = module.ConcatBERT
    cls.forward = edited(cls.forward, {"image_features_0": "image_feature_0"})


def patch_embeddings(module: ModuleType) -> None:
    """Visual position ids go where the visual embeddings are."""
    cls = module.BertVisioLinguisticEmbeddings
    cls.forward = edited(cls.forward, {".cuda()": ".to(visual_embeddings.device)"})


def patch_visual_bert(module: ModuleType) -> None:
    """The image mask goes where the image features are."""
    cls = module.VisualBERT
    edits = {".cuda()": ".to(visual_embeddings.device)"}
    cls.add_custom_params = edited(cls.add_custom_params, edits)


def patch_vilbert(module: ModuleType) -> None:
    """Boxes, targets and the image mask go where the token ids are."""
    cls = module.ViLBERT
    cls.get_image_and_text_features = edited(
        cls.get_image_and_text_features, {".cuda()": ".to(bert_input_ids.device)"}
    )
    cls.forward = edited(cls.forward, {".cuda()": '.to(params["input_ids"].device)'})


def _compact_bilinear(self: torch.nn.Module, x1: torch.Tensor, x2: torch.Tensor) -> torch.Tensor:
    """Count-sketch product of `(B, D1)` and `(B, D2)`, or of images `(B, D1, H, W)` and so on.

    Gao et al., arXiv 1511.06062.

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
