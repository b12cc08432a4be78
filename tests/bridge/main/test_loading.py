"""What builders and data modules of MMF main may do by themselves."""

import pytest
import torch
from torch.utils.data import DataLoader

from tests.bridge.runs import run_here


def sizes(**splits):
    return {"dataset_config.tiny.sizes": {"train": 0, "val": 0, "test": 0, **splits}}


def own_loader(split):
    """A method that makes a loader, and sets no ``<split>_dataset`` of the builder."""
    from mmf.common.batch_collator import BatchCollator

    from tests.bridge.tiny_plugin.dataset import TinyDataset

    def dataloader(self, *args, **kwargs):
        config = self.config.copy()
        config.sizes[split] = 24
        dataset = TinyDataset(config, split)
        return DataLoader(dataset, 6, collate_fn=BatchCollator("tiny", split))

    return dataloader


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_builder_may_make_its_own_loader(tmp_path, monkeypatch, split):
    from tests.bridge.tiny_plugin.dataset import TinyBuilder

    others = {"train": 16} if split != "train" else {}
    monkeypatch.setattr(TinyBuilder, f"{split}_dataloader", own_loader(split))
    run = run_here(tmp_path, "training.max_updates=4", changes=sizes(**others))
    loader = getattr(run.trainer, f"{split}_loader")
    assert len(loader) == 4
    assert run.trainer.num_updates == 4
    if split != "train":
        report, _ = run.trainer.evaluation_loop(split)
        assert len(report.scores) == 24
        run = run_here(tmp_path, predict=True, changes=sizes(**{**others, split: 24}))


def test_a_builder_may_wrap_the_loader_of_a_split_that_it_has_or_lacks(tmp_path, monkeypatch):
    from mmf.datasets.base_dataset_builder import BaseDatasetBuilder

    from tests.bridge.tiny_plugin.dataset import TinyBuilder

    wrapped = []

    def val_dataloader(self, *args, **kwargs):
        loader = BaseDatasetBuilder.val_dataloader(self)
        wrapped.append(loader)
        return loader

    monkeypatch.setattr(TinyBuilder, "val_dataloader", val_dataloader)
    opts = ("training.max_updates=10", "run_type=train_val")
    run = run_here(tmp_path / "has", *opts)
    # An evaluation amid training, and one at the end, by the same loader.
    assert wrapped == [run.trainer.val_loader.loaders["tiny"]]
    run = run_here(tmp_path / "lacks", *opts, changes=sizes(train=16))
    assert run.trainer.val_loader.num_datasets == 0 and len(wrapped) == 1


def test_a_method_may_say_that_there_is_no_split(tmp_path, monkeypatch):
    from tests.bridge.tiny_plugin.dataset import TinyBuilder

    monkeypatch.setattr(TinyBuilder, "val_dataloader", lambda self: None)
    run = run_here(tmp_path, "training.max_updates=2")
    assert run.trainer.val_loader.num_datasets == 0


def test_a_data_module_of_lightnings_needs_only_the_splits_that_it_has(tmp_path, monkeypatch):
    """Its other methods have MMF's arguments."""
    import pytorch_lightning as pl
    from mmf.common.registry import registry

    from tests.bridge.tiny_plugin.dataset import TinyBuilder

    class Module(pl.LightningDataModule):
        config_path = TinyBuilder.config_path
        dataset_name = "tiny"

        def prepare_data(self, config):
            pass

        def setup(self, config):
            self.config = config

        def teardown(self):
            pass

        train_dataloader = own_loader("train")

    monkeypatch.setitem(registry.mapping["builder_name_mapping"], "tiny", Module)
    run = run_here(tmp_path, "training.max_updates=4")
    assert run.trainer.num_updates == 4
    assert run.trainer.val_loader.num_datasets == run.trainer.test_loader.num_datasets == 0


def test_evaluations_use_the_loaders_that_there_are(tmp_path):
    run = run_here(tmp_path, "run_type=val", "dataset=tiny,tiny_two")
    reporter = run.trainer.dataset_loader.get_test_reporter("val")
    for loader in run.trainer.val_loader.loaders.values():
        assert reporter.next_dataset(flush_report=False)
        assert reporter.get_dataloader() is loader
    assert torch.is_tensor(next(iter(loader))["x"])


def test_a_loader_may_be_set_on_the_object_of_a_data_module(tmp_path):
    import pytorch_lightning as pl

    run = run_here(tmp_path, "training.max_updates=1", "run_type=train")
    loaders, module = run.trainer.dataset_loader, pl.LightningDataModule()
    module.train_dataloader = lambda: loaders.train_loader.loaders["tiny"]
    loaders.datamodules = {"own": module}
    assert len(loaders.train_dataloader()) == 7
    assert loaders.val_dataloader().num_datasets == 0
