"""Published files in small, written from the golden state dicts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from tests.golden.compare import load_golden, published_weights

# What shapes do not say of the tiny networks: they have heads of 16 channels.
HEADS = OmegaConf.create({"fusion": {"params": {"num_attention_heads": 4}}})
BERT = "lxrt_encoder.model.bert."


def golden_state(name: str) -> dict[str, torch.Tensor]:
    """The state dict of a published file: BEST.pth, or the pre-trained one for `pretrain`."""
    if name != "pretrain":
        return published_weights(load_golden(name))
    state = {
        key.removeprefix("lxrt_encoder.model."): value
        for key, value in golden_state("clipvil_full").items()
        if key.startswith(BERT)
    }
    state.update(published_weights(load_golden("pretrain")))
    state["cls.predictions.decoder.weight"] = state["bert.embeddings.word_embeddings.weight"]
    return state


@pytest.fixture
def publish(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a golden state dict as the published file would have it."""

    def write(name: str, ddp: bool = True, **options: object) -> Path:
        prefix = "module." if ddp else ""
        state = {prefix + key: value for key, value in golden_state(name).items()}
        path = tmp_path / f"{name}.pth"
        torch.save(state, path, **options)
        return path

    return write
