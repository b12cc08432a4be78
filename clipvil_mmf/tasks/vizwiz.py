"""The task ``vizwiz``: as ``vqa``, with the rows that VizWiz's server takes."""

from __future__ import annotations

from dataclasses import dataclass

from clipvil_mmf.tasks.vqa import VisualQuestionAnswering


@dataclass
class VizWizConfig:
    """``params`` of the task ``vizwiz``: none."""


class VizWiz(VisualQuestionAnswering):
    """VizWiz (arXiv 1802.08218): each image has one question, so that a row names the image."""

    row_fields = ("image", "answer")
