"""The model card of a model: what its run has said of it, and nothing of the machine it ran on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from clipvil_mmf.checkpoints.native import read_run_config, run_config, weights_file
from mmf_bridge.common.run_report import read_report

LIBRARY, PIPELINE = "clipvil-mmf", "visual-question-answering"
_SPLITS = ("val", "test")
# Numbers of a run's configuration that say how it was trained.
_SETTINGS = {
    "optimizer.type": "optimizer",
    "optimizer.params.lr": "learning rate",
    "optimizer.params.weight_decay": "weight decay",
    "training.batch_size": "batch size",
    "training.max_updates": "updates",
    "training.max_epochs": "epochs",
    "training.precision": "precision",
    "training.seed": "seed",
}


@dataclass
class Score:
    """A figure of a run."""

    dataset: str
    split: str
    metric: str
    value: float


@dataclass
class RunFacts:
    """What the folder of a run says of it."""

    dataset: str | None = None
    scores: list[Score] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)  # in words -> value
    costs: dict[str, str] = field(default_factory=dict)


def run_facts(path: Path) -> RunFacts:
    """The facts of the run that left what a path names; none of an imported folder."""
    folder = path if path.is_dir() else path.parent
    config_file = run_config(weights_file(path)) if path.is_file() else folder / "config.yaml"
    if config_file is None or not config_file.is_file():
        return RunFacts()
    config = read_run_config(config_file)
    if "training" not in config:
        return RunFacts()
    report = read_report(str(config_file.parent))
    dataset = str(OmegaConf.select(config, "datasets") or OmegaConf.select(config, "dataset"))
    settings = {words: OmegaConf.select(config, key) for key, words in _SETTINGS.items()}
    return RunFacts(
        dataset,
        _scores(report.get("scores"), _metrics(config)),
        {words: str(value) for words, value in settings.items() if value is not None},
        _costs(report),
    )


def _metrics(config: Any) -> set[str]:
    """The names of a run's metrics; a report has losses beside them."""
    entries = OmegaConf.select(config, "evaluation.metrics") or []
    entries = [entries] if isinstance(entries, str) else entries
    return {str(entry if isinstance(entry, str) else entry.get("type")) for entry in entries}


def _scores(found: Any, metrics: set[str]) -> list[Score]:
    """The figures of metrics in a report's ``scores``: of the best weights on val, and of test."""
    if not isinstance(found, Mapping):
        return []
    criterion, best = found.get("criterion"), found.get("best")
    splits = {split: found[split] for split in _SPLITS if isinstance(found.get(split), Mapping)}
    # The weights are those of the best evaluation, which need not be the last one.
    if splits.get("val", {}).get("update") != found.get("best_update"):
        splits.pop("val", None)
    figures = {name: value for figures in splits.values() for name, value in figures.items()}
    if isinstance(criterion, str):
        figures[criterion] = best
    scores = []
    for name, value in figures.items():
        split, _, rest = name.partition("/")
        dataset, _, metric = rest.partition("/")
        if split in _SPLITS and metrics & {*metric.split("/")} and _is_number(value):
            scores.append(Score(dataset, split, metric, value))
    return sorted(scores, key=lambda score: (_SPLITS.index(score.split), score.metric))


def _is_number(value: Any) -> bool:
    """Whether a value of a report is one that a card can have."""
    return isinstance(value, (int, float)) and isfinite(value)


def _costs(report: Mapping[str, Any]) -> dict[str, str]:
    """What the training has cost, in words."""
    number = {key: value for key, value in report.items() if _is_number(value)}
    costs = {}
    if "trainable" in number and number.get("total"):
        share = 100 * number["trainable"] / number["total"]
        costs["trainable parameters"] = (
            f"{number['trainable']:,} of {number['total']:,} ({share:.2f} %)"
        )
    if "updates" in number:
        costs["updates done"] = f"{number['updates'] + number.get('earlier_updates', 0):,}"
    if "seconds" in number:
        costs["seconds"] = f"{number['seconds'] + number.get('earlier_seconds', 0):,.0f}"
    if "peak_memory_bytes" in number:
        of = report.get("memory_of", "the process")
        costs["peak memory"] = f"{number['peak_memory_bytes'] / 2**20:,.0f} MiB of {of}"
    if "multiply_adds" in number:
        costs["multiply-adds of a prediction"] = f"{number['multiply_adds'] / 1e9:,.3g} G"
    return costs


@dataclass
class Model:
    """What the card says of a model beside its run."""

    repository: str  # org/name
    task: str
    labels: int | None  # None where it answers nothing by itself
    images_per_sample: int
    parts: Mapping[str, str]  # of the network -> what it is
    parameters: int  # in the file of weights
    method: str  # of tuning
    backbone: Sequence[str] = ()  # repositories that the tuned weights belong to
    license: str | None = None


def model_card(model: Model, facts: RunFacts) -> str:
    """The text of ``README.md``, with the metadata that the hub checks in front."""
    from huggingface_hub import EvalResult, ModelCardData

    answers = model.labels is not None
    results = [
        EvalResult(
            task_type=PIPELINE,
            dataset_type=score.dataset,
            dataset_name=score.dataset,
            dataset_split=score.split,
            metric_type=score.metric,
            metric_name=score.metric,
            metric_value=round(score.value, 6),
        )
        for score in facts.scores
        if answers
    ]
    tags = ["clip-vil", "mmf", f"task-{model.task}", f"tuning-{model.method}"]
    data = ModelCardData(
        library_name=LIBRARY,
        pipeline_tag=PIPELINE if answers else None,
        license=model.license,
        tags=tags,
        base_model=list(model.backbone) or None,
        metrics=sorted({score.metric for score in facts.scores}) or None,
        model_name=model.repository.split("/")[-1] if results else None,
        eval_results=results or None,
    )
    parts = [
        f"---\n{data.to_yaml()}\n---\n\n# {model.repository.split('/')[-1]}",
        _what(model, facts),
        _use(model),
        _table("Network", ("part", "what"), model.parts.items()),
    ]
    if facts.scores:
        rows = [(s.dataset, s.split, s.metric, f"{s.value:.4f}") for s in facts.scores]
        parts.append(_table("Scores", ("data set", "split", "metric", "value"), rows))
    training = {**facts.settings, **facts.costs}
    if training:
        parts.append(_table("Training", ("", ""), training.items()))
    return "\n\n".join(parts) + "\n"


def _what(model: Model, facts: RunFacts) -> str:
    trained = f", trained on {facts.dataset}" if facts.dataset else ""
    number = f"{model.parameters / 1e6:,.1f} M parameters"
    if model.labels is None:
        return f"Weights of CLIP-ViL to start from{trained}; {number}."
    text = (
        f"CLIP-ViL for the task `{model.task}`{trained}: {model.labels:,} answers to a question "
        f"about {_images(model.images_per_sample)}; {number}."
    )
    if model.backbone:
        names = ", ".join(f"`{name}`" for name in model.backbone)
        text += (
            f"\n\nHere are the weights that `{model.method}` has trained alone; they are loaded "
            f"together with their backbone, {names}."
        )
    return text


def _images(count: int) -> str:
    return "an image" if count == 1 else f"{count} images"


def _use(model: Model) -> str:
    install = f"## Use\n\nWith `{LIBRARY}`:"
    start = f"mmf_run config=FILE model_config.clipvil.pretrained=hf://{model.repository}"
    if model.labels is None:
        return f"{install}\n\n```\n{start}\n```"
    count = model.images_per_sample
    images = ["photo.jpg"] if count == 1 else [f"photo{n}.jpg" for n in range(1, count + 1)]
    given = f'"{images[0]}"' if count == 1 else str(images).replace("'", '"')
    return (
        f"{install}\n\n```python\nimport clipvil_mmf\n\n"
        f'model = clipvil_mmf.from_pretrained("{model.repository}")\n'
        f'model.answer({given}, "What is there to see?")\n```\n\n'
        f'```\nclipvil answer {model.repository} {" ".join(images)} "What is there to see?"\n'
        f"{start}\n```"
    )


def _table(title: str, names: Sequence[str], rows: Any) -> str:
    lines = [" | ".join(names), " | ".join("---" for _ in names)]
    lines += [" | ".join(row) for row in rows]
    return f"## {title}\n\n" + "\n".join(f"| {line} |" for line in lines)
