"""What the attention layers of a fusion compute, noted by hooks while a question is explained.

Other forward passes meet no hook: their attention stays torch's fused kernel, which holds no
probabilities. Nor does the noted pass compute anything else; probabilities are computed afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from clipvil_mmf.explaining.method import Attended
from clipvil_mmf.fusion import Fusion
from clipvil_mmf.layers.transformer import Attention
from clipvil_mmf.tuning.method import TuningMethod
from clipvil_mmf.tuning.side import SideNetwork


class Recording:
    """The calls of a fusion's attention layers, and the hidden states that a side network reads.

    Args:
        fusion: they are named by its `attention_steps`.
        tuning: the network's.
    """

    def __init__(self, fusion: Fusion, tuning: TuningMethod) -> None:
        self._fusion = fusion
        self._side = tuning if isinstance(tuning, SideNetwork) else None
        self._expected = fusion.attention_steps()
        self._calls: list[tuple[Attention, dict[str, Any]]] = []
        self._is_read = False
        self._states: dict[int, Tensor] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Note what is computed inside; with its graph, if there is one."""
        config, recomputes = self._fusion.config, self._fusion.config.checkpoint_activations
        layers = {layer for step in self._expected for layer, _, _ in step}
        with ExitStack() as hooks:
            hooks.callback(setattr, config, "checkpoint_activations", recomputes)
            config.checkpoint_activations = False  # what is recomputed has no graph
            if self._side is not None:
                hooks.callback(setattr, self._side, "read_tensors", None)
                self._side.read_tensors = self._states
            hooks.callback(self._fusion.register_forward_hook(self._note_fusion).remove)
            for layer in layers:
                for remove in self._hook(layer):
                    hooks.callback(remove)
            yield

    def steps(self, text_length: int, visual_length: int) -> tuple[list[list[Attended]], str]:
        """The calls, step by step; or none, and why."""
        kind = type(self._fusion).__name__
        if not self._expected:
            return [], f"the fusion {kind} does not say which tokens attend to which"
        expected = self._expected
        if self._states:
            expected = expected[: len(self._states) - 1]
        elif not self._is_read:
            return [], "the tuning method has a network of its own in the fusion's place"
        total = text_length + visual_length
        parts = {"text": (0, text_length), "visual": (text_length, total), "both": (0, total)}
        calls, steps = iter(self._calls), []
        for step in expected:
            steps.append([])
            for layer, queries, keys in step:
                called, tensors = next(calls, (None, {}))
                if called is not layer:
                    return [], f"the fusion {kind} computed other attention than it says"
                first, (start, end) = parts[queries][0], parts[keys]
                rows = slice(first, first + tensors["query"].shape[2])
                steps[-1].append(Attended(rows, slice(start, end), **tensors))
        return steps, ""

    @property
    def read(self) -> list[Tensor]:
        """The hidden states that a side network has read, (P, T+N, D) each."""
        return [self._states[number] for number in sorted(self._states)]

    def _note_fusion(self, fusion: nn.Module, inputs: Any, output: Any) -> None:
        self._is_read = True

    def _hook(self, layer: Attention) -> Iterator[Any]:
        """Register the hooks of a layer; yields what removes each."""

        def begin(layer: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            bias = named.get("bias", inputs[2] if len(inputs) > 2 else None)
            self._calls.append((layer, {"bias": bias}))

        def noted(name: str) -> Any:
            def note(linear: nn.Module, inputs: Any, output: Tensor) -> None:
                heads = output.unflatten(-1, (layer.num_heads, -1))
                self._calls[-1][1][name] = heads.transpose(1, 2)

            return note

        def end(linear: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            output = inputs[0]
            if not output.requires_grad:  # words alone, and frozen parameters
                output = output.detach().requires_grad_()
            self._calls[-1][1]["output"] = output
            return (output,)

        yield layer.register_forward_pre_hook(begin, with_kwargs=True).remove
        for name in ("query", "key", "value"):
            yield getattr(layer, name).register_forward_hook(noted(name)).remove
        yield layer.output.register_forward_pre_hook(end).remove
