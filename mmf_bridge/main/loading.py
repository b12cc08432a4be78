"""Patches of ``mmf.utils.build`` and ``mmf.datasets``: splits, their loaders, their order."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from omegaconf import OmegaConf
from torch.utils.data import DataLoader, IterableDataset

from mmf_bridge.common.distributed import get_world_size
from mmf_bridge.common.loading import EpochBatches, build_dataloader, stop_workers
from mmf_bridge.common.registered import optimizer_names, unknown, with_known_type
from mmf_bridge.common.replace import replace
from mmf_bridge.common.source import edited

# Keys of a dataset's section that go before those of the training section.
_OF_DATASET = ("num_workers", "pin_memory", "persistent_workers")


def patch_build(module: ModuleType) -> None:
    """Loaders with exact, resumable order; a clear error for a name that nobody registered."""
    registry = module.registry
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
        from mmf.common.batch_collator import BatchCollator

        collate = BatchCollator(dataset_instance.dataset_name, dataset_instance.dataset_type)
        seed = registry.get("sampler_seed", no_warning=True) or 0
        training = _training_section(module.get_global_config("training"), datamodule_config)
        shuffle = datamodule_config.get("shuffle", None)
        return build_dataloader(dataset_instance, training, seed, collate, shuffle)

    def known_name(build: Any, what: str, mapping: str, name_of: Any) -> Any:
        def checked(first: Any, *args: Any, **kwargs: Any) -> Any:
            known = registry.mapping[mapping]
            if name_of(first) not in known:
                raise ValueError(unknown(what, name_of(first), known))
            return build(first, *args, **kwargs)

        return checked

    replace(module, build_dataloader_and_sampler)
    module.build_model = known_name(
        module.build_model, "model", "model_name_mapping", lambda config: config.model
    )
    module.build_trainer = known_name(
        module.build_trainer,
        "training.trainer",
        "trainer_name_mapping",
        lambda config: config.training.trainer,
    )
    module.build_datamodule = known_name(
        module.build_datamodule, "dataset", "builder_name_mapping", lambda key: key
    )
    mapping = registry.mapping
    module.build_scheduler = with_known_type(
        module.build_scheduler, "scheduler", lambda: mapping["scheduler_name_mapping"]
    )
    module.build_optimizer = with_known_type(
        module.build_optimizer,
        "optimizer",
        lambda: optimizer_names(mapping["optimizer_name_mapping"]),
    )


def _training_section(training: Any, dataset: Any) -> Any:
    """The ``training`` section as it is for one dataset, with the batch size of all processes."""
    changes = {key: dataset[key] for key in _OF_DATASET if key in dataset}
    per_process = dataset.get("batch_size", None) or training.batch_size_per_device
    if per_process is not None:
        changes["batch_size"] = per_process * get_world_size()
    return OmegaConf.merge(training, changes)


def patch_builder(module: ModuleType) -> None:
    """Keep a split's loader (and its workers) for the next evaluation."""

    class BaseDatasetBuilder(module.BaseDatasetBuilder):
        __doc__ = module.BaseDatasetBuilder.__doc__

        def build_dataloader(
            self, dataset_instance: Any, dataset_type: str, *args: Any, **kwargs: Any
        ) -> DataLoader:
            if dataset_type == "train":
                return super().build_dataloader(dataset_instance, dataset_type, *args, **kwargs)
            loaders = self.__dict__.setdefault("_loaders", {})
            held = loaders.get(dataset_type)
            if held is None or held.dataset is not dataset_instance:
                held = super().build_dataloader(dataset_instance, dataset_type, *args, **kwargs)
                loaders[dataset_type] = held
            return held

    replace(module, BaseDatasetBuilder)


def has_split(datamodule: Any, dataset_type: str) -> bool:
    """Whether a datamodule has a split; one that does not say is taken to have it."""
    return getattr(datamodule, f"{dataset_type}_dataset", datamodule) is not None


def patch_datamodule(module: ModuleType) -> None:
    """Load the splits that the datasets have, and no others."""

    class MultiDataModule(module.MultiDataModule):
        __doc__ = module.MultiDataModule.__doc__

        def _build_multi_dataloader(self, dataset_type: str = "train") -> Any:
            loaders = {}
            for name, datamodule in self.datamodules.items():
                if not has_split(datamodule, dataset_type):
                    continue
                loaders[name] = getattr(datamodule, f"{dataset_type}_dataloader")()
                if not hasattr(loaders[name], "dataset"):
                    loaders[name].dataset = getattr(datamodule, f"{dataset_type}_dataset")
            strategy = self._build_iteration_strategy(self.config, loaders)
            return module.MultiDataLoader(loaders, strategy)

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
