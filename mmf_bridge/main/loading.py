"""Patches of ``mmf.utils.build`` and ``mmf.datasets``: splits, their loaders, their order."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from omegaconf import OmegaConf
from torch.utils.data import DataLoader, IterableDataset

from mmf_bridge.common.distributed import get_world_size
from mmf_bridge.common.loading import EpochBatches, dataloader_of, stop_workers
from mmf_bridge.common.replace import replace
from mmf_bridge.common.source import edited

# Keys of a dataset's section that go before those of the training section.
_OF_DATASET = ("num_workers", "pin_memory", "persistent_workers")


def patch_build(module: ModuleType) -> None:
    """Loaders with exact, resumable order."""
    stock_loader = edited(
        module.build_dataloader_and_sampler,
        # A stray comma makes a tuple of it, which is always true.
        {"True)\n            ),\n        )": "True)\n            )\n        )"},
    )

    def build_dataloader_and_sampler(
        dataset_instance: Any, datamodule_config: Any
    ) -> tuple[DataLoader, Any]:
        if isinstance(dataset_instance, IterableDataset):
            return stock_loader(dataset_instance, datamodule_config)
        training = _training_section(module.get_global_config("training"), datamodule_config)
        shuffle = datamodule_config.get("shuffle", None)
        return dataloader_of(dataset_instance, training, shuffle)

    replace(module, build_dataloader_and_sampler)


def _training_section(training: Any, dataset: Any) -> Any:
    """The ``training`` section as it is for one dataset, with the batch size of all processes."""
    changes = {key: dataset[key] for key in _OF_DATASET if key in dataset}
    per_process = dataset.get("batch_size", None) or training.batch_size_per_device
    if per_process is not None:
        changes["batch_size"] = per_process * get_world_size()
    return OmegaConf.merge(training, changes)


class MissingSplitError(TypeError):
    """A dataset has no samples of a split."""


def patch_builder(module: ModuleType) -> None:
    """Say of a split that is not there that it is missing, in an error of its own kind."""

    class BaseDatasetBuilder(module.BaseDatasetBuilder):
        __doc__ = module.BaseDatasetBuilder.__doc__

        def build_dataloader(
            self, dataset_instance: Any, dataset_type: str, *args: Any, **kwargs: Any
        ) -> DataLoader:
            if dataset_instance is None:
                raise MissingSplitError(f"{self.dataset_name} has no {dataset_type} split")
            return super().build_dataloader(dataset_instance, dataset_type, *args, **kwargs)

    replace(module, BaseDatasetBuilder)


def patch_datamodule(module: ModuleType) -> None:
    """Load the splits that the datasets have, and no others; keep the loaders for evaluations."""
    stock = module.pl.LightningDataModule

    class MultiDataModule(module.MultiDataModule):
        __doc__ = module.MultiDataModule.__doc__

        def _build_multi_dataloader(self, dataset_type: str = "train") -> Any:
            loaders, method = {}, f"{dataset_type}_dataloader"
            for name, datamodule in self.datamodules.items():
                build = getattr(datamodule, method)  # of its class, or set on the object alone
                if getattr(build, "__func__", None) is getattr(stock, method):
                    continue
                try:
                    loader = build()
                except MissingSplitError:
                    continue
                if loader is None:
                    continue
                if not hasattr(loader, "dataset"):
                    loader.dataset = getattr(datamodule, f"{dataset_type}_dataset")
                loaders[name] = loader
            strategy = self._build_iteration_strategy(self.config, loaders)
            return module.MultiDataLoader(loaders, strategy)

        def get_test_reporter(self, dataset_type: str) -> Any:
            loaders = self.get_loader(dataset_type).loaders
            there = {name: self.datamodules[name] for name in loaders}
            config = self._get_test_reporter_config()
            reporter = module.build_test_reporter(there, config, dataset_type)
            reporter.loaders = loaders
            return reporter

    replace(module, MultiDataModule)


def patch_multi_loader(module: ModuleType) -> None:
    """Count batches, not samples divided by the batch size; seed the order of every run."""

    class MultiDataLoader(module.MultiDataLoader):
        __doc__ = module.MultiDataLoader.__doc__

        def set_samplers(self) -> None:
            self.samplers = {
                name: _order(loader) for name, loader in self.loaders.items() if _order(loader)
            }

        def __len__(self) -> int:
            if any(isinstance(loader.dataset, IterableDataset) for loader in self.loaders.values()):
                return super().__len__()
            return sum(len(loader) for loader in self.loaders.values())

        def seed_sampler(self, epoch: int) -> None:
            for sampler in self.samplers.values():
                if hasattr(sampler, "set_epoch"):
                    sampler.set_epoch(epoch)

        def start_at(self, batch: int) -> bool:
            """Begin the next epoch at this batch, if the order of batches needs no replay."""
            order = next(iter(self.samplers.values()), None)
            if self.num_datasets != 1 or not isinstance(order, EpochBatches):
                return False
            order.start_at(batch)
            return True

        def stop_workers(self) -> None:
            """End the worker processes of all datasets."""
            for name, loader in self.loaders.items():
                stop_workers(loader, self.iterators.pop(name, None))

    replace(module, MultiDataLoader)


def _order(loader: Any) -> Any:
    """What decides the order of a loader's batches."""
    batches = getattr(loader, "batch_sampler", None)
    return batches if hasattr(batches, "set_epoch") else getattr(loader, "sampler", None)
