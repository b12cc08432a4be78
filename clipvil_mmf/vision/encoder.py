"""What every image encoder is: images, or what stands for them, -> features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from clipvil_mmf.layers.published import Names
from clipvil_mmf.preprocessing import images_of


class ImageEncoder(nn.Module):
    """Images (B_img, 3, H, W) -> grid features (B_img, C, h, w).

    It runs once per image, however many questions there are.

    Attributes:
        out_channels: C, the width of the features.
        batch_fields: the fields of a batch that :meth:`inputs_of` reads.
        gives_tokens: whether its features went through a visual embedding already, so that the
            network's own has nothing to train.
        memory_format: of the images that :meth:`inputs_of` gives.
        published_names: see :mod:`clipvil_mmf.layers.published`; empty without a counterpart.
        published_unused: published prefix -> why no parameter takes it.
    """

    out_channels: int
    batch_fields: tuple[str, ...] = ("images",)
    gives_tokens: bool = False
    memory_format: torch.memory_format = torch.contiguous_format
    published_names: ClassVar[Names] = {}
    published_unused: ClassVar[Names] = {}

    @property
    def has_moving_statistics(self) -> bool:
        """Whether training moves the running statistics of its BatchNorms, if it has some."""
        return True

    @property
    def is_pretrained(self) -> bool:
        """Whether it is built with weights of a file, which its configuration names."""
        return False

    @classmethod
    def saved_params(cls, params: Mapping[str, Any]) -> dict[str, Any]:
        """Its ``params`` where its weights come with those of the whole model.

        They name nothing outside: neither a file of weights nor a repository.
        """
        return {key: None if key == "pretrained" else value for key, value in params.items()}

    def inputs_of(self, batch: Mapping[str, Any], rows: Tensor | None = None) -> Any:
        """What :meth:`forward` takes of a batch.

        Args:
            batch: has `batch_fields`.
            rows: (n,) int64, the images that are wanted; None for all.
        """
        return images_of(batch, rows, self.memory_format)
