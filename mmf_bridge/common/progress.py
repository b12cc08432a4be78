"""The progress bar of training: rate, loss, last validation score, time left."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


class TrainingProgress:
    """One bar over all updates of a run; silent on other ranks and where nobody watches.

    Args:
        total: number of updates of the run.
        done: number of updates already done (a resumed run).
        enabled: draw at all (the master process, logging not switched off).
    """

    def __init__(self, total: int, done: int, enabled: bool) -> None:
        self._shown: dict[str, str] = {}
        self._bar = tqdm(
            total=total,
            initial=done,
            unit="update",
            desc="training",
            disable=not enabled or not sys.stderr.isatty(),
            dynamic_ncols=True,
            smoothing=0.1,
        )

    def update(self) -> None:
        self._bar.update()

    def show(self, **values: Any) -> None:
        """Set figures behind the bar, such as ``loss=0.12`` or ``val=0.93``."""
        self._shown.update(
            {k: f"{v:.4f}" if isinstance(v, float) else str(v) for k, v in values.items()}
        )
        self._bar.set_postfix(self._shown, refresh=False)

    def close(self) -> None:
        self._bar.close()
