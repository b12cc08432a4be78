"""What training on MMF main alone has."""

from omegaconf import OmegaConf

from tests.bridge.runs import run_here, sizes


def test_a_dataset_without_a_length(tmp_path, monkeypatch):
    from torch.utils.data import IterableDataset

    from tests.bridge.tiny_plugin import dataset

    class Stream(IterableDataset):
        dataset_name, dataset_type = "tiny", "train"

        def __init__(self, samples):
            self.samples = samples

        def __iter__(self):
            for start in range(0, 40, 8):
                yield [self.samples[index] for index in range(start, start + 8)]

    stock = dataset.TinyBuilder.load

    def load(self, config, dataset_type="train", *args, **kwargs):
        samples = stock(self, config, dataset_type)
        return Stream(samples) if dataset_type == "train" else samples

    monkeypatch.setattr(dataset.TinyBuilder, "load", load)
    monkeypatch.setattr(dataset.TinyBuilder, "train_dataloader", _batches_of_a_stream)
    run = run_here(tmp_path, "training.max_updates=7", "run_type=train")
    assert run.trainer.num_updates == 7


def _batches_of_a_stream(builder):
    from mmf.utils.build import build_dataloader_and_sampler

    loader, _ = build_dataloader_and_sampler(
        builder.train_dataset,
        OmegaConf.create({"num_workers": 1, "persistent_workers": False, "batch_size": None}),
    )
    assert loader.persistent_workers is False
    return loader


def test_keys_of_a_dataset_go_before_those_of_training(tmp_path):
    changes = {"dataset_config.tiny": {"batch_size": 5, "num_workers": 1, "shuffle": False}}
    run = run_here(tmp_path, "training.max_updates=1", "run_type=train", changes=changes)
    loader = run.trainer.train_loader.first_loader
    assert loader.num_workers == 1
    assert next(iter(loader.batch_sampler)) == [0, 1, 2, 3, 4]


def test_batch_size_per_device(tmp_path):
    run = run_here(tmp_path, "training.batch_size_per_device=4", "training.max_updates=1")
    assert len(next(iter(run.trainer.train_loader))["x"]) == 4


def test_user_callbacks_are_called(tmp_path):
    from mmf.common.registry import registry
    from mmf.trainers.callbacks.base import Callback

    calls, saved = [], []

    @registry.register_callback("counting")
    class Counting(Callback):
        def on_update_end(self, **kwargs):
            calls.append("update")
            saved.append(self.trainer.last_saved)

        def on_batch_end(self, **kwargs):
            calls.append("batch")

        def on_validation_end(self, **kwargs):
            calls.append("validation")
            saved.append(self.trainer.last_saved)

    run_here(
        tmp_path,
        "training.max_updates=10",
        "training.update_frequency=2",
        "run_type=train",
        changes={"training.callbacks": [{"type": "counting", "params": {}}]},
    )
    assert calls.count("update") == 10
    assert calls.count("batch") == 18  # 7 batches an epoch: updates of 2, 2, 2 and 1
    assert calls.count("validation") == 1
    # A checkpoint is there before callbacks hear of its update, or of the evaluation that saves it.
    assert saved == [*4 * [None], *6 * [5], 10]


def test_a_trainer_of_somebodys_own_may_build_its_parts_in_its_own_way(tmp_path):
    import torch
    from mmf.common.registry import registry
    from mmf.trainers.mmf_trainer import MMFTrainer

    from mmf_bridge.main.trainer import StockTrainer

    @registry.register_trainer("own_parts")
    class OwnParts(MMFTrainer):
        def load_datasets(self):
            StockTrainer.load_datasets(self)

        def load_fp16_scaler(self):
            self.scaler = torch.amp.GradScaler("cpu", enabled=False)

        def configure_device(self):
            super().configure_device()
            self.device = "cpu"

        def configure_callbacks(self):
            super().configure_callbacks()
            del self.checkpoint_callback, self.lr_scheduler_callback

    run = run_here(
        tmp_path,
        *("training.trainer=own_parts", "training.max_updates=4", "run_type=train"),
        changes=sizes(train=16),
    )
    assert run.trainer.num_updates == 4
    assert not list(tmp_path.rglob("*.ckpt"))
