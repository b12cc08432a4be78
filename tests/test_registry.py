"""Names of components are taken once, and components have what their base class asks for."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from torch import Tensor, nn

from clipvil_mmf.config import ConfigError
from clipvil_mmf.data.formats import FORMATS
from clipvil_mmf.fusion import FUSIONS, Fusion, build_fusion
from clipvil_mmf.heads import HEADS, Head, build_head
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.tasks import TASKS, Task, build_task
from clipvil_mmf.tuning import METHODS, TuningMethod
from clipvil_mmf.vision import IMAGE_ENCODERS, ImageEncoder, build_image_encoder
from tests.golden.compare import TINY

REGISTRIES = {
    "image encoder": (IMAGE_ENCODERS, "clip_grid"),
    "fusion": (FUSIONS, "joint"),
    "head": (HEADS, "mlp"),
    "tuning method": (METHODS, "full"),
    "task": (TASKS, "vqa"),
}


@dataclass
class Plain:
    """Nothing to set."""


@dataclass
class Sized:
    """Of a fusion's keys the first alone."""

    hidden_size: int = 8


class WithoutWidth(ImageEncoder):
    def __init__(self, config: Plain) -> None:
        super().__init__()

    def forward(self, images: Tensor) -> Tensor:
        return images


class Narrow(Fusion):
    def forward(self, text: Any, visual: Any) -> Any:
        return text


class Shallow(Narrow):
    has_hidden_states = True


class Misnamed(Head):
    label_tensors = ("weight",)

    def __init__(self, config: Plain, width: int, labels: int) -> None:
        super().__init__(config)
        self.output = nn.Linear(width, labels)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.output(pooled)


class Forgetful(TuningMethod):
    def __init__(self, config: Plain, network: Any) -> None:
        nn.Module.__init__(self)


@pytest.mark.parametrize("kind", REGISTRIES)
def test_a_name_is_taken_once(kind: str) -> None:
    registry, name = REGISTRIES[kind]
    former = registry[name]
    mine = type("Mine", (former[1],), {"__module__": "myplugin.mine"})
    message = rf"the {kind} '{name}': myplugin\.mine\.Mine would replace clipvil_mmf\."
    with pytest.raises(ConfigError, match=message):
        registry[name] = (former[0], mine)
    assert registry[name] is former


def test_a_file_format_is_registered_once_and_reads() -> None:
    name, plain = next(iter(FORMATS.items()))
    mine = SimpleNamespace(__name__="myplugin.tsv", recognises=len)
    with pytest.raises(ConfigError, match=r"the file format 'tsv': myplugin\.tsv lacks read;"):
        FORMATS["tsv"] = mine
    mine.read = len
    with pytest.raises(ConfigError, match=rf"myplugin\.tsv would replace {plain.__name__}, "):
        FORMATS[name] = mine


def test_a_later_version_of_the_same_component_may_come() -> None:
    """After a reload, or from a plugin's folder that was imported under another name."""
    config, former = HEADS["mlp"]
    again = type("MlpHead", (former,), {"__module__": former.__module__})
    try:
        HEADS["mlp"] = (config, again)
        assert HEADS["mlp"][1] is again
    finally:
        HEADS["mlp"] = (config, former)


@pytest.mark.parametrize(
    ("kind", "component", "message"),
    [
        ("image encoder", nn.Identity, r"is not a subclass of clipvil_mmf\.vision\..*ImageEncoder"),
        ("image encoder", type("A", (ImageEncoder,), {}), r"\.A lacks forward"),
        ("fusion", type("A", (Fusion,), {}), r"\.A lacks forward"),
        ("head", type("A", (Head,), {}), r"\.A lacks forward"),
        ("tuning method", nn.Identity, "is not a subclass of .*TuningMethod"),
        ("task", type("A", (Task,), {}), r"\.A lacks target_kind"),
    ],
)
def test_what_a_class_lacks(kind: str, component: type, message: str) -> None:
    registry = REGISTRIES[kind][0]
    with pytest.raises(ConfigError, match=f"the {kind} 'mine': .*{message}"):
        registry["mine"] = (Plain, component)
    assert "mine" not in registry


def test_what_an_object_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(IMAGE_ENCODERS, "mine", (Plain, WithoutWidth))
    with pytest.raises(ConfigError, match=r"'mine': .*WithoutWidth does not set out_channels"):
        build_image_encoder({"type": "mine"})
    monkeypatch.setitem(FUSIONS, "mine", (Sized, Narrow))
    with pytest.raises(ConfigError, match=r"'mine': .*Narrow does not set config\.vocab_size"):
        build_fusion({"type": "mine"})
    monkeypatch.setitem(HEADS, "mine", (Plain, Misnamed))
    message = r"type: Misnamed\.label_tensors names weight, but the head has output\.weight, output"
    with pytest.raises(ConfigError, match=message):
        build_head({"type": "mine"}, 8, 2)
    monkeypatch.setitem(METHODS, "mine", (Plain, Forgetful))
    with pytest.raises(ConfigError, match=r"'mine': .*Forgetful does not set config"):
        ClipVilNetwork.from_config(**TINY, tuning={"method": "mine"})


def test_hidden_states_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FUSIONS, "mine", (FUSIONS["joint"][0], Shallow))
    sections = {**TINY, "fusion": {**TINY["fusion"], "type": "mine"}}
    with pytest.raises(ConfigError, match=r"Shallow says .* lacks layers and hidden_states"):
        ClipVilNetwork.from_config(**sections, tuning={"method": "unipt"})


@pytest.mark.parametrize("entry", [Misnamed, (Plain(), Misnamed), (int, Misnamed), (Plain,)])
def test_an_entry_is_the_dataclass_of_its_params_and_the_class(entry: Any) -> None:
    with pytest.raises(ConfigError, match=r"is not given as \(dataclass of its params, class\)"):
        HEADS["odd"] = entry
    assert "odd" not in HEADS


def test_a_task_has_targets_of_a_kind_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    config, vqa = TASKS["vqa"]
    odd = type("Odd", (vqa,), {"target_kind": "odd"})
    monkeypatch.setitem(TASKS, "odd", (config, odd))
    with pytest.raises(ConfigError, match=r"^task: the task 'odd' has the target_kind 'odd'"):
        build_task("odd")
