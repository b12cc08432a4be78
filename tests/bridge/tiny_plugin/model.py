"""The model ``tiny``: dropout, batch normalisation and one linear layer."""

import os
import signal
from pathlib import Path

import torch
from mmf.common.registry import registry
from mmf.models.base_model import BaseModel
from mmf.utils.distributed import get_rank
from torch import nn


@registry.register_model("tiny")
class Tiny(BaseModel):
    """Scores (B, 3) of ``x`` (B, 8); ``saw`` keeps what the last batch was computed in."""

    @classmethod
    def config_path(cls):
        return str(Path(__file__).with_name("model.yaml"))

    def build(self):
        self.dropout = nn.Dropout(self.config.dropout)
        self.norm = nn.BatchNorm1d(8) if self.config.norm else nn.Identity()
        self.linear = nn.Linear(8, 3)
        if self.config.get("extra", 0):
            self.extra = nn.Linear(8, 3)

    def forward(self, sample_list):
        x = sample_list["x"]
        if "images" in sample_list:
            x = x + sample_list["images"][sample_list["image_index"]]
        scores = self.linear(self.dropout(self.norm(x)))
        if self.config.get("extra", 0):
            scores = scores + self.extra(x)
        if self.config.get("print_dtype", False):
            mode = "train" if self.training else "eval"
            print(f"tiny: {mode} {scores.dtype} {sample_list['dataset_type']}", flush=True)
        if self.config.get("changes_batch", False):  # as MMF's Pythia and MoVie-MCAN do
            sample_list["x"] = sample_list.pop("x")[:, :1]
        if self.config.get("signal_at", None) and not self.training:
            self.evaluated = getattr(self, "evaluated", 0) + 1
            if self.evaluated == self.config.signal_at:
                os.kill(os.getpid(), signal.SIGTERM)
        if self.config.get("nan_at", None) and self.training:
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls == self.config.nan_at and get_rank() == self.config.nan_rank:
                scores = scores * torch.nan
        return {"scores": scores}
