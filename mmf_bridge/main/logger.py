"""Mends of ``mmf.utils.logger``: a second run in one process logs each line once."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any


def mend(module: ModuleType) -> None:
    """Take the handlers of an earlier run away before new ones are added."""
    stock = module.setup_logger

    def setup_logger(*args: Any, name: str = "mmf", **kwargs: Any) -> logging.Logger | None:
        for known in (name, "py.warnings"):
            logger = logging.getLogger(known)
            for handler in logger.handlers[:]:
                logger.removeHandler(handler)
        return stock(*args, name=name, **kwargs)

    module.setup_logger = setup_logger
