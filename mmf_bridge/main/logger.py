"""Patches of ``mmf.utils.logger``: a second run in one process logs each line once."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

from mmf_bridge.common.replace import replace


def patch(module: ModuleType) -> None:
    """Take the handlers of an earlier run away before new ones are added."""
    stock = module.setup_logger

    def setup_logger(
        output: str | None = None, color: bool = True, name: str = "mmf", *args: Any, **kwargs: Any
    ) -> logging.Logger | None:
        for known in (name, "py.warnings"):
            logger = logging.getLogger(known)
            for handler in logger.handlers[:]:
                logger.removeHandler(handler)
        return stock(output, color, name, *args, **kwargs)

    replace(module, setup_logger)
