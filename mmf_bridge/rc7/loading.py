"""Patches of ``mmf.utils.build``, ``mmf.datasets.multi_dataset_loader`` and
``mmf.common.dataset_loader``: datasets, their loaders, and where an epoch stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from mmf_bridge.common.distributed import synchronize
from mmf_bridge.common.loading import dataloader_of, stop_workers
from mmf_bridge.common.replace import replace


def patch_build(module: ModuleType) -> None:
    """Loaders with exact, resumable order."""

    def build_dataloader_and_sampler(dataset_instance: Any, training_config: Any) -> Any:
        return dataloader_of(dataset_instance, training_config)

    replace(module, build_dataloader_and_sampler)


def patch_multi_dataset_loader(module: ModuleType) -> None:
    """Count batches, not samples divided by the batch size; start every epoch afresh.

    Its batches are prepared for the model, as main's are.
    """

    class MultiDatasetLoader(module.MultiDatasetLoader):
        __doc__ = module.MultiDatasetLoader.__doc__

        def load(self, config: Any) -> None:
            self.build_datasets(config)
            if self.datasets:  # a split need not be there
                self.build_dataloaders()

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
                self._infer_dataset_probabilities()

        def build_dataloaders(self) -> None:
            self._loaders, self._samplers = [], []
            self.current_index, self.current_dataset = 0, self.datasets[0]
            super().build_dataloaders()

        def __len__(self) -> int:
            return sum(len(loader) for loader in self.loaders)

        def __iter__(self) -> Iterator[Any]:
            if self.num_datasets == 1:
                return map(self.prepare_batch, self.loaders[0])
            # Stock MMF appends a second set of iterators in the second epoch, and remembers the
            # datasets that the first one finished, and the one that it ended with.
            self._finished_iterators.clear()
            self._used_once.clear()
            self._iterators = [iter(loader) for loader in self.loaders]
            self.current_index, self.current_dataset = 0, self.datasets[0]
            self._chosen_iterator = self._iterators[0]
            return self._mixed()

        def _mixed(self) -> Iterator[Any]:
            try:
                while True:
                    try:
                        batch = next(self)
                    except StopIteration:
                        return
                    batch = self.prepare_batch(batch)
                    # Before the batch is trained on: a checkpoint after it knows of the draw.
                    self.change_dataloader()
                    yield batch
            finally:
                # Now, not at Python's leisure: it waits for workers that still have batches.
                self._chosen_iterator = None
                self._iterators = []

        def prepare_batch(self, batch: Any) -> Any:
            return self.current_dataset.prepare_batch(batch)

        def seed_sampler(self, epoch: int) -> None:
            for sampler in self.samplers:
                sampler.set_epoch(epoch)

        def start_at(self, batch: int) -> bool:
            """Begin the next epoch at this batch, if the order of batches needs no replay."""
            if self.num_datasets == 1:
                self.samplers[0].start_at(batch)
            return self.num_datasets == 1

        def stop_workers(self) -> None:
            """End the worker processes of all datasets."""
            for loader in self.loaders:
                stop_workers(loader)

    replace(module, MultiDatasetLoader)


def patch_dataset_loader(module: ModuleType) -> None:
    """Prepare batches as they are."""

    class DatasetLoader(module.DatasetLoader):
        def load_datasets(self) -> None:
            super().load_datasets()
            synchronize()

        def prepare_batch(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
            # Not SampleList(batch): that copies a batch, and rejects fields of another length.
            return self.mapping[batch.dataset_type].prepare_batch(batch)

    replace(module, DatasetLoader)
