"""Which checkpoint a run loads: one decision, for the trainer and for models that ask before it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf


@dataclass(frozen=True)
class CheckpointChoice:
    """The checkpoint that a run loads after its model has been built."""

    file: str  # a path, or a name of MMF's zoo
    is_own: bool  # whether the run has written it, so that it goes on from there
    is_whole: bool  # or in parts, by checkpoint.pretrained_state_mapping


def own_checkpoints(config: Any, folder: str, prefix: str = "") -> list[str]:
    """The paths of a run's own checkpoints, the one to go on from first."""
    names = ["best.ckpt", "current.ckpt"]
    if not OmegaConf.select(config, "checkpoint.resume_best"):
        names.reverse()
    return [os.path.join(folder, prefix + name) for name in names]


def choose_checkpoint(
    config: Any, folder: str | None = None, prefix: str = ""
) -> CheckpointChoice | None:
    """Decide which checkpoint a run loads, by the section ``checkpoint`` and the files there.

    Args:
        config: MMF's whole configuration.
        folder: of the run's own checkpoints; ``env.save_dir`` by default.
        prefix: of their names (a model's ``get_ckpt_name``).

    Returns:
        None for a run that starts from the beginning.

    Raises:
        FileNotFoundError: ``checkpoint.resume_file`` does not exist, or a run that predicts has
            nothing to resume.
    """
    from mmf.utils.file_io import PathManager

    def option(key: str) -> Any:
        return OmegaConf.select(config, f"checkpoint.{key}")

    folder = OmegaConf.select(config, "env.save_dir") if folder is None else folder
    own = own_checkpoints(config, folder or "", prefix)
    resume, resume_file, zoo = map(option, ("resume", "resume_file", "resume_zoo"))
    # A run interrupted after it had started from resume_file goes on from its own file.
    if (resume_file or zoo) and not (resume and PathManager.exists(own[0])):
        if resume_file and not PathManager.exists(resume_file):
            raise FileNotFoundError(
                f"checkpoint.resume_file {resume_file} does not exist: give the path of a "
                ".ckpt, .pth or .safetensors file, or of a folder with model.safetensors"
            )
        in_parts = option("resume_pretrained") and option("pretrained_state_mapping")
        return CheckpointChoice(resume_file or zoo, is_own=False, is_whole=not in_parts)
    if not resume:
        return None
    found = next((path for path in own if PathManager.exists(path)), None)
    if found is not None:
        return CheckpointChoice(found, is_own=True, is_whole=True)
    if not trains(config, bool(OmegaConf.select(config, "evaluation.predict"))):
        raise FileNotFoundError(
            f"checkpoint.resume=true, but there is neither {own[0]} nor {own[1]} to go on with: "
            "train first, or name a file with checkpoint.resume_file"
        )
    return None


def trains(config: Any, predict: bool) -> bool:
    """Whether a run trains; one of ``mmf_predict`` does not."""
    return not predict and "train" in (OmegaConf.select(config, "run_type") or "train")


def check_weights(config: Any, predict: bool) -> None:
    """Refuse to score or predict with random weights.

    Raises:
        ValueError: the run does not train, and nothing names its weights.
    """
    named = [f"checkpoint.{key}" for key in ("resume", "resume_file", "resume_zoo")]
    named += [f"model_config.{config.model}.pretrained", "evaluation.untrained"]
    if trains(config, predict) or any(OmegaConf.select(config, key) for key in named):
        return
    what = "mmf_predict" if predict else f"run_type {config.run_type}"
    raise ValueError(
        f"{what} trains nothing, and no checkpoint is named, so that its answers would be random. "
        f"Give checkpoint.resume=true for the run in {config.env.save_dir} (with "
        "checkpoint.resume_best=true its best weights), or checkpoint.resume_file=FILE; "
        "evaluation.untrained=true takes the weights that the model is built with"
    )


def goes_on(config: Any, folder: str, prefix: str = "") -> bool:
    """Whether a training goes on from this folder's own checkpoints, or has none to overwrite.

    ``checkpoint.resume=true`` with none to go on from is a run that was killed before its first
    one, unless a final file says that it had come to its end. See :func:`choose_checkpoint`.
    """
    choice = choose_checkpoint(config, folder, prefix)
    if choice is None:
        finals = Path(folder).glob("*_final.pth")
        return bool(config.checkpoint.resume) and not any(finals)
    reset = config.checkpoint.reset
    counts = choice.is_whole and choice.file.endswith(".ckpt") and not (reset.all or reset.counts)
    return choice.is_own or (counts and lies_in(choice.file, folder))


def lies_in(file: str, folder: str) -> bool:
    """Whether a checkpoint lies in a run's folder, or among its numbered ones."""
    return Path(folder).resolve() in Path(file).resolve().parents[:2]
