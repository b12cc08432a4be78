"""What evaluations have found, in a line of the console and in ``run_report.json``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mmf_bridge.common.progress import short

_TOTAL_LOSS = "total_loss"


def score_of(split: str, figures: Mapping[str, float], criterion: str) -> float | None:
    """The figure of a split that decides which weights are the best; None if it has none.

    ``criterion`` is that of the val split, such as ``val/easy_vqa/vqa_score``.
    """
    return figures.get(f"{split}/{criterion.removeprefix('val/')}")


def score_line(
    split: str,
    figures: Mapping[str, float],
    criterion: str,
    metrics: Iterable[str] = (),
    best: tuple[float, int] | None = None,
) -> str:
    """``val 0.985 (best 0.985 @500)  loss 0.0432``.

    Args:
        split: ``val``, ``test`` ...
        figures: of an evaluation, by MMF's names such as ``val/easy_vqa/vqa_score``.
        criterion: what the best weights are chosen by; its figure comes first, without a name.
        metrics: those of the run, whose other figures follow with their names.
        best: the best figure so far, and its update.
    """
    main = f"{split}/{criterion.removeprefix('val/')}"
    loss = f"{split}/{_TOTAL_LOSS}"
    parts = [split]
    if main in figures:
        parts.append(f"{'loss ' if main == loss else ''}{short(figures[main])}")
        if best is not None:
            parts.append(f"(best {short(best[0])} @{best[1]:,})")
    metrics = set(metrics)
    datasets = {name.split("/")[1] for name in figures if name.count("/") > 1}
    for name, value in figures.items():
        if name == main or not metrics & set(name.split("/")):
            continue
        shown = name.split("/")[2:] if len(datasets) == 1 else name.split("/")[1:]
        parts.append(f"{'/'.join(shown)} {short(value)}")
    if main != loss and loss in figures:
        parts.append(f"loss {short(figures[loss])}")
    return " ".join(parts)
