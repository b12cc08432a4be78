"""Patch of ``mmf.utils.inference``, which ``mmf_interactive`` asks."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from mmf_bridge.common.plugins import import_plugins
from mmf_bridge.common.replace import replace
from mmf_bridge.protocols import AnswersByItself


def patch(module: ModuleType) -> None:
    """Let models that prepare images and texts by themselves answer; others go MMF's way.

    That needs ``image_feature_encodings`` of the model's configuration, and one checkpoint.
    """

    class Inference(module.Inference):
        __doc__ = module.Inference.__doc__

        def _build_model(self) -> Any:
            self._answer = _answerer(str(self.checkpoint))
            return super()._build_model() if self._answer is None else (None, None, None)

        def forward(self, image_path: str, text: dict[str, str], image_format: str = "path") -> str:
            """The answer to ``text["text"]`` about an image: a path, or the address of one."""
            if self._answer is None:
                return super().forward(image_path, text, image_format)
            return self._answer(image_path, text["text"])

    replace(module, Inference)


def _answerer(path: str) -> Any:
    """What answers by the model of a path, by the first registered class that knows it; or None."""
    from mmf.common.registry import registry

    import_plugins()
    for model in registry.mapping["model_name_mapping"].values():
        if isinstance(model, AnswersByItself):
            found = model.answerer(path)
            if found is not None:
                return found
    return None
