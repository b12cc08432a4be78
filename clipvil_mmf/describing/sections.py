"""The sections of a configuration that are ours, and the dataclass of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clipvil_mmf.data.labels import LabelParams
from clipvil_mmf.data.regions import RegionParams
from clipvil_mmf.fusion import FUSIONS
from clipvil_mmf.heads import HEADS
from clipvil_mmf.model import ClipVilConfig
from clipvil_mmf.optim.groups import GroupsConfig, TowerConfig
from clipvil_mmf.optim.schedules import ScheduleConfig
from clipvil_mmf.tasks import TASKS
from clipvil_mmf.tasks.confidence import PredictionParams
from clipvil_mmf.text.wordpiece import WordPieceParams
from clipvil_mmf.tuning import METHODS
from clipvil_mmf.vision import IMAGE_ENCODERS, VisualEmbeddingConfig
from clipvil_mmf.vision.clip_grid import OpenClipTowerConfig, ResNetTowerConfig, ViTTowerConfig


@dataclass(frozen=True)
class Section:
    """A section: the fields of a dataclass, or a component by name and its ``params``."""

    # The dataclass whose fields are its keys; of several, `choose` takes one by what is given.
    classes: tuple[type, ...] = ()
    choose: Callable[[Mapping[str, Any]], type] | None = None
    # Sections in it, by key.
    inside: Mapping[str, Section] = field(default_factory=dict)
    # The key that names a component, and the section `params` of each component.
    key: str | None = None
    params: Mapping[str, Section] = field(default_factory=dict)
    # Whether there are components of other names, MMF's.
    others: bool = False
    # Defaults that are others than the dataclass's.
    defaults: Mapping[str, Any] = field(default_factory=dict)
    # Whether its defaults hold where a configuration does not have it.
    always: bool = False

    def class_of(self, given: Mapping[str, Any]) -> type | None:
        """The dataclass of a section that holds this."""
        return self.choose(given) if self.choose else next(iter(self.classes), None)


def root(datasets: Mapping[str, type]) -> Section:
    """The whole of a configuration, with these datasets (name -> dataclass) of ours."""
    return Section(
        inside={
            "model_config": Section(inside={"clipvil": _model()}),
            "dataset_config": Section(inside={n: _dataset(cls) for n, cls in datasets.items()}),
            "optimizer": Section(inside={"groups": _groups()}),
            "scheduler": _beside_others("clipvil_recipe", ScheduleConfig),
            "prediction": Section((PredictionParams,), always=True),
        }
    )


def _model() -> Section:
    towers = Section((ResNetTowerConfig, ViTTowerConfig, OpenClipTowerConfig), choose=_tower)
    return Section(
        (ClipVilConfig,),
        inside={
            "image_encoder": _component(IMAGE_ENCODERS, inside={"tower": towers}),
            "visual_embedding": Section((VisualEmbeddingConfig,)),
            # The model takes the size of the dataset's text vocabulary.
            "fusion": _component(FUSIONS, defaults={"vocab_size": None}),
            "classifier": _component(HEADS),
            "tuning": _component(METHODS, key="method"),
        },
    )


def _dataset(cls: type) -> Section:
    processors = {
        "text_processor": _beside_others("clipvil_wordpiece", WordPieceParams),
        "answer_processor": _beside_others("clipvil_answer", LabelParams),
    }
    return Section(
        (cls,),
        inside={
            "task": _component(TASKS),
            "features": Section((RegionParams,)),
            "processors": Section(inside=processors),
        },
    )


def _groups() -> Section:
    return Section((GroupsConfig,), inside={"tower": Section((TowerConfig,))}, always=True)


def _component(
    registry: Mapping[str, tuple[type, type]], key: str = "type", **options: Any
) -> Section:
    params = {name: Section((config,), **options) for name, (config, _) in registry.items()}
    return Section(key=key, params=params)


def _beside_others(name: str, cls: type) -> Section:
    return Section(key="type", params={name: Section((cls,))}, others=True)


def _tower(given: Mapping[str, Any]) -> type:
    """A ResNet has a number of layers for each stage."""
    if "vision_cfg" in given:
        return OpenClipTowerConfig
    return ResNetTowerConfig if isinstance(given.get("layers"), list) else ViTTowerConfig
