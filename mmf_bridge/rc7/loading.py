"""Patches of ``mmf.utils.build``, ``mmf.datasets.multi_dataset_loader`` and
``mmf.common.dataset_loader``: datasets, their loaders, and where an epoch stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from mmf_bridge.common.distributed import synchronize
from mmf_bridge.common.loading import build_dataloader
from mmf_bridge.common.registered import optimizer_names, unknown, with_known_type
from mmf_bridge.common.replace import replace


def patch_build(module: ModuleType) -> None:
    """Loaders with exact, resumable order; a clear error for a model that nobody registered."""
    registry = module.registry

    def build_dataloader_and_sampler(dataset_instance: Any, training_config: Any) -> Any:
        from mmf.common.batch_collator import BatchCollator

        collate = BatchCollator(dataset_instance.dataset_name, dataset_instance.dataset_type)
        seed = registry.get("sampler_seed", no_warning=True) or 0
        return build_dataloader(dataset_instance, training_config, seed, collate)

    stock_build_model = module.build_model

    def build_model(config: Any) -> Any:
        known = registry.mapping["model_name_mapping"]
        if config.model not in known:
            raise ValueError(unknown("model", config.model, known))
        return stock_build_model(config)

    stock_build_trainer = module.build_trainer

    def build_trainer(configuration: Any, *rest: Any, **kwargs: Any) -> Any:
        name = configuration.get_config().training.trainer
        known = registry.mapping["trainer_name_mapping"]
        if name not in known:
            raise ValueError(unknown("training.trainer", name, known))
        return stock_build_trainer(configuration, *rest, **kwargs)

    stock_build_dataset = module.build_dataset

    def build_dataset(dataset_key: str, config: Any = None, dataset_type: str = "train") -> Any:
        known = registry.mapping["builder_name_mapping"]
        if dataset_key not in known:
            raise ValueError(unknown("dataset", dataset_key, known))
        return stock_build_dataset(dataset_key, config, dataset_type)

    mapping = registry.mapping
    build_scheduler = with_known_type(
        module.build_scheduler, "scheduler", lambda: mapping["scheduler_name_mapping"]
    )
    build_optimizer = with_known_type(
        module.build_optimizer,
        "optimizer",
        lambda: optimizer_names(mapping["optimizer_name_mapping"]),
    )

    replace(
        module,
        build_scheduler,
        build_optimizer,
        build_dataloader_and_sampler,
        build_model,
        build_trainer,
        build_dataset,
    )


def patch_multi_dataset_loader(module: ModuleType) -> None:
    """Count batches, not samples divided by the batch size; start every epoch afresh."""

    class MultiDatasetLoader(module.MultiDatasetLoader):
        __doc__ = module.MultiDatasetLoader.__doc__

        def build_datasets(self, config: Any) -> None:
            self.config = config
            self._process_datasets()
            for name in self._given_datasets:
                if name not in config.dataset_config:
                    raise ValueError(
                        f"dataset_config has no section {name!r}, which datasets names"
                    )
                dataset = module.build_dataset(name, config.dataset_config[name], self.dataset_type)
                if dataset is not None:
                    self.datasets.append(dataset)
                    self._per_dataset_lengths.append(len(dataset))
                    self._total_length += len(dataset)
            self._num_datasets = len(self.datasets)
            if self.datasets:
                self.current_index = 0
                self.current_dataset = self.datasets[0]
                self._infer_dataset_probabilities()

        def __len__(self) -> int:
            return sum(len(loader) for loader in self.loaders)

        def __iter__(self) -> Iterator[Any]:
            # Stock MMF appends a second set of iterators in the second epoch, and remembers the
            # datasets that the first one finished, and the one that it ended with.
            self._iterators.clear()
            self._finished_iterators.clear()
            self._used_once.clear()
            self._choose(0)
            if self.num_datasets == 1:
                return iter(self.loaders[0])
            self._iterators.extend(iter(loader) for loader in self.loaders)
            self._chosen_iterator = self._iterators[0]
            return self._mixed()

        def _mixed(self) -> Iterator[Any]:
            try:
                while True:
                    try:
                        batch = next(self)
                    except StopIteration:
                        return
                    yield batch
            finally:
                # Now, not at Python's leisure: it waits for workers that still have batches.
                self._chosen_iterator = None
                self._iterators.clear()

        def one_by_one(self) -> Iterator[tuple[Any, Any]]:
            """Every dataset with its loader: evaluation mixes no datasets, and draws no numbers."""
            for index in range(self.num_datasets):
                self._choose(index)
                yield self.current_dataset, self.current_loader

        def _choose(self, index: int) -> None:
            self.current_index = index
            self.current_dataset = self.datasets[index]
            self.current_loader = self.loaders[index]

        def prepare_batch(self, batch: Any) -> Any:
            if self.dataset_type != "train":
                return self.current_dataset.prepare_batch(batch)
            return super().prepare_batch(batch)

        def seed_sampler(self, epoch: int) -> None:
            for sampler in self.samplers:
                sampler.set_epoch(epoch)

        def start_at(self, batch: int) -> bool:
            """Begin the next epoch at this batch, if the order of batches needs no replay."""
            if self.num_datasets == 1:
                self.samplers[0].start_at(batch)
            return self.num_datasets == 1

    replace(module, MultiDatasetLoader)


def patch_dataset_loader(module: ModuleType) -> None:
    """Load a split only if the dataset has it."""
    stock = module.DatasetLoader

    class DatasetLoader(stock):
        def load_datasets(self) -> None:
            self.mapping = {}
            for split in ("train", "val", "test"):
                loader = module.MultiDatasetLoader(split)
                loader.build_datasets(self.config)
                if loader.datasets:
                    loader.build_dataloaders()
                self.mapping[split] = loader
                setattr(self, f"{split}_dataset", loader)
                setattr(self, f"{split}_loader", loader)
            self.test_reporter = None
            self.should_not_log = self.config.training.should_not_log
            synchronize()

        def prepare_batch(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
            # Not SampleList(batch): that copies a batch, and rejects fields of another length.
            return self.mapping[batch.dataset_type].prepare_batch(batch)

    replace(module, DatasetLoader)
