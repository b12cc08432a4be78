"""omegaconf's resolvers, under the name that the installed omegaconf gives their registration."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from omegaconf import OmegaConf


def register_resolver(name: str, resolver: Callable[..., Any]) -> None:
    """Register a resolver, in place of one of that name."""
    # 2.4 renamed ``register_new_resolver``; ``register_resolver`` was another function before.
    renamed = tuple(int(part) for part in version("omegaconf").split(".")[:2]) >= (2, 4)
    register = OmegaConf.register_resolver if renamed else OmegaConf.register_new_resolver
    register(name, resolver, replace=True)


def silence_empty_defaults() -> None:
    """MMF's own defaults are written ``${env:MMF_LOG_DIR,}``, and omegaconf warns of it."""
    warnings.filterwarnings("ignore", message="In the sequence `MMF_", category=UserWarning)
