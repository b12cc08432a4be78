"""What is asked: the key ``task`` of a dataset's section.

A task is one file, with a dataclass of its ``params`` and a :class:`Task`, and a line here; or a
line of a plugin: ``TASKS["my_task"] = (MyConfig, MyTask)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipvil_mmf.config import ConfigError, build
from clipvil_mmf.registry import Registry
from clipvil_mmf.tasks.aokvqa import AOKVQA, AOKVQAConfig
from clipvil_mmf.tasks.entailment import Entailment, EntailmentConfig
from clipvil_mmf.tasks.gqa import GQA, GQAConfig
from clipvil_mmf.tasks.nlvr2 import NLVR2, NLVR2Config
from clipvil_mmf.tasks.pretraining import Pretraining, PretrainingConfig
from clipvil_mmf.tasks.snli_ve import SnliVE, SnliVEConfig
from clipvil_mmf.tasks.task import CLASSES, SOFT, LabelPairs, Task
from clipvil_mmf.tasks.vizwiz import VizWiz, VizWizConfig
from clipvil_mmf.tasks.vqa import VisualQuestionAnswering, VQAConfig

TASKS: Registry[tuple[type, type[Task]]] = Registry(
    "task",
    {
        "vqa": (VQAConfig, VisualQuestionAnswering),
        "gqa": (GQAConfig, GQA),
        "entailment": (EntailmentConfig, Entailment),
        "aokvqa": (AOKVQAConfig, AOKVQA),
        "vizwiz": (VizWizConfig, VizWiz),
        "snli_ve": (SnliVEConfig, SnliVE),
        "nlvr2": (NLVR2Config, NLVR2),
        "pretraining": (PretrainingConfig, Pretraining),
    },
    Task,
    given=["target_kind", "default_metric", "row_fields", "targets", "probabilities"],
    attributes=["config"],
)


def build_task(section: str | Mapping[str, Any], where: str = "task") -> Task:
    """The task of a section: a name of ``TASKS``, or ``{type: NAME, params: {...}}``.

    An unknown task, key or value is a ``ConfigError`` that begins with ``where``.
    """
    plain = {"type": section} if isinstance(section, str) else section
    task = build(TASKS, plain, where)
    task.name = plain["type"]
    if task.target_kind not in (SOFT, CLASSES):
        raise ConfigError(
            f"{where}: the task {task.name!r} has the target_kind {task.target_kind!r}, expected "
            f"tasks.SOFT ({SOFT!r}) or tasks.CLASSES ({CLASSES!r})"
        )
    return task


def saved_task(section: Mapping[str, Any]) -> str | dict[str, Any]:
    """The section ``task`` of a dataset's section in the configuration of a run, as plain values.

    Runs that are older than the key were ``vqa``, or ``gqa``, which differs in its rows alone.
    """
    from omegaconf import OmegaConf

    task = section.get("task") or "vqa"
    return OmegaConf.to_container(task, resolve=True) if OmegaConf.is_config(task) else task


__all__ = ["CLASSES", "SOFT", "TASKS", "LabelPairs", "Task", "build_task", "saved_task"]
