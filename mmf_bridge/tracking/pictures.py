"""The same few samples of the val split, drawn with what the model predicts of them."""

from __future__ import annotations

import random
from typing import Any

import torch

from mmf_bridge.common.checkpoint_files import rng_state, set_rng_state
from mmf_bridge.common.distributed import unwrap
from mmf_bridge.protocols import Collates, DrawsPredictions
from mmf_bridge.tracking.trackers import in_short

_SEED = 0  # of all runs, so that they can be compared


def track_pictures(trainer: Any) -> None:
    """Hand a picture of each dataset to the trackers; rank 0 does it, after an evaluation.

    Random numbers are left as they were. What cannot be drawn is a line in the log.
    """
    model, count = unwrap(trainer.model), trainer.config.training.trackers.images
    if not count or not isinstance(model, DrawsPredictions):
        return
    for dataset in trainer.val_loader.get_datasets():
        if not isinstance(dataset, Collates) or not len(dataset):
            continue
        before, was_training = rng_state(), model.training
        try:
            picture = _drawn(trainer, model, dataset, count)
        except Exception as error:  # noqa: BLE001
            name = dataset.dataset_name
            trainer.writer.write(f"{name}: no picture for trackers: {in_short(error)}", "warning")
        else:
            if picture is not None:
                name = f"val/{dataset.dataset_name}/predictions"
                trainer.trackers.picture(name, picture, trainer.num_updates)
        finally:
            model.train(was_training)
            set_rng_state(before)


@torch.no_grad()
def _drawn(trainer: Any, model: Any, dataset: Any, count: int) -> Any:
    """The picture of a dataset."""
    indices = random.Random(_SEED).sample(range(len(dataset)), min(count, len(dataset)))
    if hasattr(dataset, "__getitems__"):
        samples = dataset.__getitems__(indices)
    else:
        samples = [dataset[index] for index in indices]
    model.eval()
    report = trainer.forward_pass(trainer.on_device(dataset.collate(samples)), model)
    return model.draw_predictions(dataset, indices, report)
