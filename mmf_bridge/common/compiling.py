"""``training.compile``: ``torch.compile`` for the model of a run, in training and evaluation.

The model is compiled in place: its modules, hooks and names of weights stay what they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from mmf_bridge.common.near import did_you_mean
from mmf_bridge.common.resuming import trains
from mmf_bridge.protocols import HasCompiledParts

KEY = "training.compile"
# The keys of the section: what torch.compile takes, and a setting of its inductor.
_TYPES: dict[str, type] = {
    "backend": str,
    "mode": str,
    "dynamic": bool,
    "fullgraph": bool,
    "freezing": bool,
}
# Not those with CUDA graphs, which overwrite outputs that evaluations keep.
MODES = ("default", "max-autotune-no-cudagraphs")
# Training and evaluation, both canvases of pictures, batches of one: more than torch's own 8.
_GRAPHS = 32


def compile_options(value: Any, key: str = KEY) -> dict[str, Any] | None:
    """The options of :func:`compile_model`, by the value of ``training.compile``; None for false.

    Args:
        value: of that key, or of one of another name.
        key: what errors call it.

    Raises:
        ValueError: it is neither true nor false nor a section of known keys with fitting values.
    """
    if value is None or value is False or value is True:
        return {} if value else None
    if not isinstance(value, Mapping):
        raise ValueError(
            f"{key}: got {value!r}, expected true, false or a section of {', '.join(_TYPES)}"
        )
    for name, given in value.items():
        if name not in _TYPES:
            hint = did_you_mean(name, _TYPES)
            raise ValueError(f"{key}.{name}: unknown.{hint} Its keys: {', '.join(_TYPES)}")
        kind = _TYPES[name]
        if given is not None and not isinstance(given, kind):
            expected = "true or false" if kind is bool else "a name"
            raise ValueError(f"{key}.{name}: got {given!r}, expected {expected}")
    options = {name: given for name, given in value.items() if given is not None}
    _check_choice(f"{key}.mode", options.get("mode", "default"), MODES)
    if options.get("backend", "inductor") != "inductor":
        if "mode" in options:
            raise ValueError(f"{key}.mode: only the backend inductor has modes; set it to null")
        if options.get("freezing"):
            raise ValueError(f"{key}.freezing: only the backend inductor freezes; set it to null")
        _check_choice(f"{key}.backend", options["backend"], torch.compiler.list_backends(()))
    return options


def check_freezing(config: Any, predict: bool) -> None:
    """Refuse to make constants of weights that a run trains, in its evaluations as well.

    Raises:
        ValueError: ``training.compile.freezing`` is true in such a run.
    """
    options = compile_options(config.training.get("compile"))
    if options and options.get("freezing") and trains(config, predict):
        raise ValueError(
            f"{KEY}.freezing: true makes the weights constants of the graph, but run_type "
            f"{config.run_type} trains them: leave it to mmf_predict, or to run_type=val or test"
        )


def check_compiler(options: Mapping[str, Any], device: torch.device, key: str = KEY) -> None:
    """Compile one sum, to find out whether this machine can; ``key`` is what errors name.

    Raises:
        ValueError: it has no C++ compiler, or on GPUs no Triton.
    """
    numbers = torch.ones(2, device=device)
    try:
        torch.compile(_double, **_arguments(options))(numbers)
    except Exception as error:  # the backends raise what they like
        lines = [line for line in str(error).splitlines() if line.strip()]
        needs = "Triton and a C compiler" if device.type == "cuda" else "a C++ compiler such as g++"
        raise ValueError(
            f"{key}: torch.compile does not work here ({type(error).__name__}: "
            f"{' '.join(lines[:2])}). It needs {needs}, with Python's header files: install them, "
            f"or give {key}=false"
        ) from error


def compile_model(model: nn.Module, options: Mapping[str, Any]) -> None:
    """Compile a model in place: what it names in ``compiled_parts``, or its whole forward pass.

    With ``freezing`` the weights that it has at its first batch become constants of the graph,
    laid out as the kernels like them best; that is for models that are not trained.
    """
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, _GRAPHS)
    # Masked words are as many as they are.
    config.capture_dynamic_output_shape_ops = True
    # DDP's own splitting of graphs takes none with recomputed layers.
    config.optimize_ddp = False
    if options.get("backend", "inductor") == "inductor":
        from torch._inductor.config import triton

        # On GPUs torch 2.11 fails in these where a size that varies is reduced in parts.
        for name in ("coalesce_tiling_analysis", "mix_order_reduction"):
            if hasattr(triton, name):
                setattr(triton, name, False)
    parts = model.compiled_parts() if isinstance(model, HasCompiledParts) else [model]
    for part in parts:
        part.compile(**_arguments(options))
        if options.get("freezing"):
            # The graph is traced outside of what an option of torch.compile reaches.
            frozen = torch._inductor.config.patch(freezing=True)
            part._compiled_call_impl = frozen(part._compiled_call_impl)


def _arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """Of ``torch.compile``; by its options it tells graphs of frozen weights from the others."""
    arguments = {name: value for name, value in options.items() if name != "freezing"}
    if options.get("freezing"):
        modes = torch._inductor.list_mode_options(arguments.pop("mode", "default"))
        arguments["options"] = {**modes, "freezing": True}
    return arguments


def _double(numbers: torch.Tensor) -> torch.Tensor:
    return numbers + numbers


def _check_choice(key: str, value: str, choices: Any) -> None:
    if value not in choices:
        hint = did_you_mean(value, choices)
        raise ValueError(f"{key}: got {value!r}.{hint} Choices: {', '.join(choices)}")
