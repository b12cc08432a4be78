"""A model as a folder for the hub, and the folder as one commit there."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch import Tensor

from clipvil_mmf.checkpoints.fetched import MODEL_FILES, model_path
from clipvil_mmf.checkpoints.matching import Source
from clipvil_mmf.checkpoints.native import (
    CONFIG,
    TUNED,
    VOCABULARY,
    Description,
    SavedModel,
    describe_run,
    read_run_config,
    run_config,
    weights_file,
    write_files,
)
from clipvil_mmf.checkpoints.tuned import (
    complete,
    find_tuned,
    read_extra,
    read_model,
    write_tuned,
)
from clipvil_mmf.sharing.card import LIBRARY, Model, model_card, run_facts
from clipvil_mmf.sharing.repositories import HubError, Repository, explained, find_repository
from clipvil_mmf.tasks import build_task
from clipvil_mmf.weight_files import new_folder
from mmf_bridge.common.checkpoint_files import listed, not_finite
from mmf_bridge.tracking.secrets import is_secret, without_secrets

logger = logging.getLogger(__name__)

CARD = "README.md"
# How a path begins, unless it is of this folder.
_PATH = re.compile(r"[/~]|\.{1,2}[/\\]|[A-Za-z]:[/\\]|\\\\|file:")
_SECRET_LENGTH = 8  # characters from which on a variable's value is looked for


def write_shared(
    path: str | Path,
    folder: str | Path,
    name: str,
    backbone: Sequence[str] | None = None,
    merge: bool = False,
    license: str | None = None,
) -> str:
    """Write what the hub is to have of a model into a new folder: weights, configuration, card.

    Of a tuned run whose backbone is on the hub, these are the weights that were trained and the
    backbone's name; of another one the whole model, merged.

    Args:
        path: a run's save_dir, a file there, or an imported folder.
        folder: the folder to make.
        name: of the repository, org/name.
        backbone: of a tuned run, see :func:`clipvil_mmf.checkpoints.tuned.merge`.
        merge: write a tuned run as a whole model anyway.
        license: of the weights, as the hub names it; None says nothing of it.

    Returns:
        What it holds, in words.

    Raises:
        HubError: it has a secret or a path of this machine, cannot answer, or has weights that are
            not finite.
        CheckpointError, WeightFileError: as :func:`clipvil_mmf.checkpoints.tuned.merge`.
    """
    path = model_path(path)
    tuned = find_tuned(path)
    if path.is_dir():
        file = weights_file(path) if tuned is None else tuned[0]
        if file.suffix == ".ckpt":
            logger.warning("%s has not ended: these are the weights of %s", path, file.name)
    with new_folder(folder) as partial:
        if tuned is None or merge or not _is_shared(tuned[0], _backbones(tuned[0], backbone)):
            model, backbones = read_model(path, backbone), []
            description = model.description
            method = (description.network.get("tuning") or {}).get("method", "full")
            if tuned is not None:
                method = _method(tuned[0])
            _write_whole(model, partial, path)
            tensors = model.network
            what = "a whole model"
            if tuned is not None:
                what += f": {method} merged with its backbone"
        else:
            file, run = tuned
            backbones = _backbones(file, backbone)
            complete(file, run, backbones)  # it is the backbone that the run was tuned with
            description = _write_tuned(file, run, backbones, partial)
            method, tensors = description.network["tuning"]["method"], run.tensors
            what = f"what {method} has trained, for the backbone {', '.join(backbones)}"
        bad = not_finite(tensors)
        if bad:
            raise HubError(
                f"{path}: {listed(bad, 1)} of the weights hold NaN or infinity. Train the model "
                "again, or name a checkpoint of the run from before"
            )
        card = _describe(description, tensors, name, method, backbones, license)
        (partial / CARD).write_text(model_card(card, run_facts(path)), encoding="utf-8")
        _refuse_private(partial)
    return what


def check_name(name: str) -> None:
    """Raise HubError unless it can be that of a repository: org/name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise HubError(f"{name!r} is not a repository's name: {error}") from error
    if "/" not in name:
        raise HubError(f"{name!r} does not say whose repository it is: expected org/name")


def check_login() -> None:
    """Raise HubError where nobody is logged in to the hub, or it shall not be asked."""
    from huggingface_hub import constants, get_token

    if constants.is_offline_mode():
        raise HubError("HF_HUB_OFFLINE is set: unset it to push, or write a folder with --output")
    if get_token() is None:
        raise HubError(
            "not logged in to the hub: run `hf auth login`, or set HF_TOKEN to a token that may "
            "write"
        )


def push(folder: Path, name: str, private: bool, revision: str | None, message: str) -> str:
    """Upload a folder of :func:`write_shared` as one commit; the address of the commit.

    Files of a model that lie there and are not in the folder are deleted by the same commit.

    Raises:
        HubError: nobody is logged in, or the hub refuses it.
    """
    from huggingface_hub import HfApi

    check_login()
    api = HfApi(library_name=LIBRARY)
    with explained(Repository(name, revision)):
        api.create_repo(name, private=private or None, exist_ok=True)
        if private and not api.model_info(name).private:
            raise HubError(f"{name} exists and is public: --private makes new repositories private")
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            revision=revision,
            commit_message=message,
            delete_patterns=list(MODEL_FILES),
        )
    return str(commit.commit_url)


def _backbones(file: Path, given: Sequence[str] | None) -> list[str]:
    """What a tuned run starts from, or is said to."""
    if given is not None:
        return list(given)
    found = _setting(file, "pretrained")
    return [found] if isinstance(found, str) else list(found or [])


def _is_shared(file: Path, backbones: Sequence[str]) -> bool:
    """Whether others can have all of a tuned run's backbone: it is on the hub."""
    tower = _setting(file, "image_encoder.params.pretrained")
    is_here = tower is not None and Path(tower).exists()
    return bool(backbones) and not is_here and None not in map(find_repository, backbones)


def _method(file: Path) -> str:
    return str(_setting(file, "tuning.method"))


def _setting(file: Path, key: str) -> Any:
    """What the configuration of the run that left a file has under ``model_config.clipvil``."""
    return OmegaConf.select(read_run_config(run_config(file)), f"model_config.clipvil.{key}")


def _write_whole(model: SavedModel, folder: Path, path: Path) -> None:
    if "classifier" in model.description.network and model.labels is None:
        raise HubError(
            f"{path} has no answers.json, so that nobody could ask it: import the checkpoint again "
            "with --answers FILE"
        )
    if model.tokens is not None:
        model.description.text_vocabulary = VOCABULARY
    model.unused = {}  # it serves an export alone
    write_files(model, folder)


def _write_tuned(file: Path, run: Source, backbones: Sequence[str], folder: Path) -> Description:
    """Write the trained weights of a run, and of its configuration what they are read with."""
    config = read_run_config(run_config(file))
    description = describe_run(file, run, config)
    dataset = str(OmegaConf.select(config, "datasets") or config.dataset)
    sections = {k: v for k, v in description.network.items() if k != "num_labels"}
    length = {"max_seq_length": description.max_seq_length}
    data = {
        **description.images,
        "task": description.task,
        "processors": {"text_processor": {"params": length}},
    }
    plain = {
        "dataset": dataset,
        "dataset_config": {dataset: data},
        "model_config": {"clipvil": {**sections, "pretrained": list(backbones)}},
    }
    (folder / CONFIG).write_text(OmegaConf.to_yaml(OmegaConf.create(plain)), encoding="utf-8")
    named = {f"network.{name}": tensor for name, tensor in run.tensors.items()}
    stated = {"name": ", ".join(backbones), "sha256": run.backbone["sha256"]}
    write_tuned(folder, named, {"text": run.tokens, "answer": run.labels, "backbone": stated})
    return description


def _describe(
    description: Description,
    tensors: Mapping[str, Tensor],
    name: str,
    method: str,
    backbones: Sequence[str],
    license: str | None,
) -> Model:
    task = build_task(description.task, "task")
    network = description.network
    sections = ("image_encoder", "fusion", "classifier")
    parts = {part: str(network[part]["type"]) for part in sections if part in network}
    return Model(
        name,
        task.name,
        network.get("num_labels"),
        task.images_per_sample,
        {**parts, "tuning": method},
        sum(tensor.numel() for tensor in tensors.values() if tensor.is_floating_point()),
        method,
        [find_repository(one).name for one in backbones],
        license,
    )


def _refuse_private(folder: Path) -> None:
    """Raise HubError for a secret, or a path of this machine, in what everybody is to read."""
    config = OmegaConf.to_container(OmegaConf.load(folder / CONFIG))
    if without_secrets(config) != config:
        raise HubError(f"{CONFIG} would have a password, a token or a signed address")
    for key, text in _texts(config):
        if _PATH.match(text) or ("/" in text and Path(text).exists()):
            raise HubError(
                f"{CONFIG} would have {key}: {text}, a path of this machine, which nobody else has"
            )
    # Beside the configuration: what was written for people, and beside the weights.
    texts = [(folder / CARD).read_text(encoding="utf-8")]
    if (folder / TUNED).is_file():
        texts.append(json.dumps((read_extra(folder / TUNED) or {}).get("backbone")))
    own = {str(place) for place in (Path.home(), Path.cwd()) if place != place.parent}
    written = "\n".join([*texts, (folder / CONFIG).read_text(encoding="utf-8")])
    for name, value in os.environ.items():
        if is_secret(name) and len(value) >= _SECRET_LENGTH and value in written:
            raise HubError(f"the value of the variable {name} would be pushed")
    for text in texts:
        for place in own:
            if place in text:
                raise HubError(f"{place}, a folder of this machine, would be pushed: {text:.80}")


def _texts(values: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """The texts of a plain configuration by their dotted keys."""
    if isinstance(values, str):
        yield key, values
    elif isinstance(values, (dict, list)):
        items = values.items() if isinstance(values, dict) else enumerate(values)
        for name, value in items:
            yield from _texts(value, f"{key}.{name}" if key else str(name))
