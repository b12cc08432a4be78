"""The encoder `clip_grid` in MMF main's registry."""

import pytest
import torch
from omegaconf import OmegaConf

import clipvil_mmf
from clipvil_mmf.config import ConfigError


def test_a_model_of_mmf_can_name_it():
    from mmf.modules.encoders import Encoder
    from mmf.utils.build import build_encoder

    clipvil_mmf.register()
    params = {"tower": {"layers": [1, 1, 1, 1], "width": 4}, "batch_norm": "eval"}
    config = OmegaConf.create({"type": "clip_grid", "params": params})
    encoder = build_encoder(config)
    assert isinstance(encoder, Encoder) and encoder.out_dim == 128
    assert encoder(torch.zeros(2, 3, 64, 96)).shape == (2, 6, 128)
    config.params.widht = 3
    with pytest.raises(ConfigError, match=r"clip_grid\.widht: unknown key"):
        build_encoder(config)
