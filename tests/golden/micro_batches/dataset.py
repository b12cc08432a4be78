"""The dataset `micro_batches`: a sample is a whole micro-batch, each epoch has the same order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmf.common.registry import registry
from mmf.common.sample import SampleList
from mmf.datasets.base_dataset import BaseDataset
from mmf.datasets.mmf_dataset_builder import MMFDatasetBuilder

from tests.golden.compare import load_tiny
from tests.golden.trajectories import micro_batch

NAME = "micro_batches"
# The network's sizes ask for that many; the words themselves do not matter.
TOKENS = [f"token{index}" for index in range(200)]
ANSWERS = [f"answer{index}" for index in range(13)]


class MicroBatches(BaseDataset):
    def __init__(self, config: Any, dataset_type: str) -> None:
        super().__init__(NAME, config, dataset_type)
        _, self.golden = load_tiny()
        self.split = dataset_type

    def __len__(self) -> int:
        return self.config.per_epoch

    def __getitem__(self, index: int) -> int:
        return index

    def build_batch_sampler(self, *args: Any) -> list[list[int]]:
        return [[index] for index in range(len(self))]

    def collate(self, samples: list[int]) -> SampleList:
        (index,) = samples
        batch = SampleList()
        for key, value in micro_batch(self.golden, index).items():
            batch.add_field(key, value)
        batch.add_field("dataset_name", NAME)
        batch.add_field("dataset_type", self.split)
        return batch


@registry.register_builder(NAME)
class MicroBatchesBuilder(MMFDatasetBuilder):
    def __init__(self, *args: Any) -> None:
        super().__init__(NAME, MicroBatches)

    @classmethod
    def config_path(cls) -> str:
        return str(Path(__file__).with_name("dataset.yaml"))

    def build(self, config: Any, dataset_type: str = "train", *args: Any, **kwargs: Any) -> None:
        pass

    def load(self, config: Any, dataset_type: str = "train", *args: Any, **kwargs: Any) -> Any:
        self.config = config
        return MicroBatches(config, dataset_type) if dataset_type == "train" else None

    def update_registry_for_model(self, config: Any) -> None:
        registry.register(f"{NAME}_text_vocab", TOKENS)
        registry.register(f"{NAME}_answer_vocab", ANSWERS)
