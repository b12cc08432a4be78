"""The recorded runs, driven by MMF's trainer (of the installed line) from a yaml file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch.nn import functional as F

from tests.golden.compare import TINY
from tests.golden.trajectories import FULL, Recipe, Recorder, load_network, names_of
from tests.golden.tuned import SECTIONS

RECIPES = Path(__file__).parents[2] / "projects" / "clipvil" / "configs" / "recipes"


def yaml_of(recipe: Recipe, folder: Path, name: str) -> dict[str, Any]:
    """The tiny model on micro-batches, without the keys of a recipe."""
    network = {key: TINY[key] for key in ("image_encoder", "fusion", "classifier")}
    if name != FULL:
        network["tuning"] = SECTIONS["unipt"]
    return {
        "model": "clipvil",
        "dataset": "micro_batches",
        "run_type": "train",
        "env": {"user_dir": "tests.golden.micro_batches", "save_dir": str(folder)},
        "dataset_config": {"micro_batches": {"per_epoch": recipe.batches_per_epoch}},
        "model_config": {"clipvil": network},
        "training": {
            "trainer": "mmf",
            "num_workers": 0,
            "device": "cpu",
            "seed": 1,
            "checkpoint_interval": 1,
            "evaluation_interval": 1000,
            "log_interval": 1000,
        },
        "checkpoint": {"max_to_keep": 1},
    }


def keys_of(recipe: Recipe) -> dict[str, Any]:
    """What `published.yaml` leaves open."""
    return {
        "optimizer": {"params": {"lr": recipe.lr}, "groups": {"tower": {"lr": recipe.tower_lr}}},
        "scheduler": {
            "params": {"warmup_ratio": recipe.warmup_ratio, "milestones": recipe.milestones}
        },
        "training": {
            "max_epochs": recipe.epochs,
            "update_frequency": recipe.accumulation,
            "batch_size": 1,
        },
    }


def run(
    recipe: Recipe,
    folder: Path,
    *opts: str,
    name: str = FULL,
    changes: dict[str, Any] | None = None,
    optimizer: dict[str, Any] | None = None,
    recipe_file: str = "published.yaml",
) -> Any:
    """Run MMF from the recorded weights, and note what the recorded runs note.

    Args:
        recipe: the keys that `published.yaml` leaves open.
        folder: of the run.
        *opts: options of the command line.
        name: the recorded run whose network it is.
        changes: dotted keys that replace those of the yaml file.
        optimizer: this section instead of the published one.
        recipe_file: of the recipes; all others are complete: `recipe` gives the data alone.

    Returns:
        the trainer and the `Trajectory`.
    """
    import mmf_cli.run

    folder.mkdir(parents=True, exist_ok=True)
    config = OmegaConf.create(yaml_of(recipe, folder, name))
    if recipe_file == "published.yaml":
        config = OmegaConf.merge(config, keys_of(recipe))
    if optimizer is None:
        config.includes = [str(RECIPES / recipe_file)]
    else:
        config = OmegaConf.merge(OmegaConf.load(RECIPES / recipe_file), config)
        config.optimizer = optimizer
        config.includes = [str((RECIPES / name).resolve()) for name in config.get("includes", [])]
    for key, value in (changes or {}).items():
        OmegaConf.update(config, key, value, merge=False)
    OmegaConf.save(config, folder / "run.yaml")
    made: list[Any] = []
    stock = mmf_cli.run.build_trainer

    def build_trainer(configuration: Any) -> Any:
        trainer = stock(configuration)
        train = trainer.train

        def train_watched() -> None:
            made.extend([trainer, watch(trainer, name)])
            train()

        trainer.train = train_watched
        return trainer

    mmf_cli.run.build_trainer = build_trainer
    try:
        mmf_cli.run.run([f"config={folder / 'run.yaml'}", *opts])
    finally:
        mmf_cli.run.build_trainer = stock
    trainer, recorder = made
    return trainer, recorder.finish()


def watch(trainer: Any, name: str) -> Recorder:
    """Put the recorded weights into a loaded trainer's model, unless it resumes, and record."""
    network = trainer.model.network
    if trainer.num_updates == 0:
        network.load_state_dict(load_network(name)[0].state_dict())
    recorder = Recorder(network, trainer.optimizer, names_of(name))
    stock_forward = trainer.model.forward

    def forward(sample_list: Any) -> Any:
        output = stock_forward(sample_list)
        if network.training:  # not the predictions that the run's report times
            scores, targets = output["scores"].detach(), sample_list["targets"]
            recorder.seen.loss.append(F.binary_cross_entropy_with_logits(scores, targets).item())
        return output

    trainer.model.forward = forward
    trainer.optimizer.register_step_pre_hook(
        lambda *args: recorder.before_step(trainer.gradient_norm)
    )
    trainer.optimizer.register_step_post_hook(lambda *args: recorder.after_step())
    return recorder
