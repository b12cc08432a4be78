"""The task ``gqa``: as ``vqa``, with the rows that GQA's server takes."""

from __future__ import annotations

from dataclasses import dataclass

from clipvil_mmf.tasks.vqa import VisualQuestionAnswering


@dataclass
class GQAConfig:
    """``params`` of the task ``gqa``: none."""


class GQA(VisualQuestionAnswering):
    """GQA (arXiv 1902.09506): one answer is right."""

    row_fields = ("questionId", "prediction")
