"""Components of one's own for clipvil_mmf: a file for each, and a line here.

MMF imports this package as ``env.user_dir``, the command ``clipvil`` as ``--user-dir``, Python by
``import myplugin``; only the data set needs MMF.
"""

from __future__ import annotations

import sys

import clipvil_mmf
from clipvil_mmf.data.formats import FORMATS
from clipvil_mmf.fusion import FUSIONS
from clipvil_mmf.heads import HEADS
from clipvil_mmf.tasks import TASKS
from clipvil_mmf.tuning import METHODS
from clipvil_mmf.vision import IMAGE_ENCODERS

from . import tsv
from .bag import BagConfig, BagFusion
from .conv_grid import ConvGridConfig, ConvGridEncoder
from .cosine import CosineConfig, CosineHead
from .majority import Majority, MajorityConfig
from .prompt import Prompt, PromptConfig

IMAGE_ENCODERS["conv_grid"] = (ConvGridConfig, ConvGridEncoder)
FUSIONS["bag"] = (BagConfig, BagFusion)
HEADS["cosine"] = (CosineConfig, CosineHead)
METHODS["prompt"] = (PromptConfig, Prompt)
FORMATS["tsv"] = tsv
TASKS["majority"] = (MajorityConfig, Majority)


def register() -> None:
    """Register with MMF what only MMF uses, and clipvil_mmf itself."""
    clipvil_mmf.register()
    from . import labelled_folders  # noqa: F401


if "mmf" in sys.modules:
    register()
