"""What `checkpoint_activations` must do, for any fusion."""

from __future__ import annotations

from collections.abc import Callable

import torch

from clipvil_mmf.fusion import Text, Visual
from clipvil_mmf.layers.transformer import Attention


def check_checkpointing(
    make: Callable[[bool], torch.nn.Module], inputs: tuple[Text, Visual]
) -> None:
    """Same output and gradients (under dropout), layers computed twice, and less kept."""
    results = []
    plain, again = make(False), make(True)
    again.load_state_dict(plain.state_dict())
    for fusion in (plain, again):
        calls: list[int] = []
        for module in fusion.modules():
            if isinstance(module, Attention):
                module.register_forward_hook(lambda m, a, o, calls=calls: calls.append(1))
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor, kept: dict[int, int] = kept) -> torch.Tensor:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        weights = {parameter.data_ptr() for parameter in fusion.parameters()}
        torch.manual_seed(0)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            pooled = fusion(*inputs)
        size = sum(count for pointer, count in kept.items() if pointer not in weights)
        forward_calls = len(calls)
        pooled.square().sum().backward()
        gradients = {name: p.grad for name, p in fusion.named_parameters() if p.requires_grad}
        results.append((pooled, gradients, forward_calls, len(calls), size))
        with torch.no_grad():
            fusion(*inputs)
        assert len(calls) == results[-1][3] + forward_calls  # once, where there is no graph
    (pooled, gradients, count, total, size), (pooled2, gradients2, count2, total2, size2) = results
    assert count == total == count2 and total2 == 2 * count
    assert size2 < size / 3
    assert torch.equal(pooled, pooled2)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, gradients2[name], atol=1e-6, rtol=1e-5)
