"""CLIP's statistics of images, which data and checkpoints share (openai/CLIP, clip/clip.py)."""

from __future__ import annotations

# Of the red, green and blue channel, in [0, 1].
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
