"""The dataset ``tiny``: vectors (8,) whose largest of the first three entries is the answer."""

from pathlib import Path

import torch
from mmf.common.registry import registry
from mmf.common.sample import Sample, SampleList
from mmf.datasets.base_dataset import BaseDataset
from mmf.datasets.mmf_dataset_builder import MMFDatasetBuilder

SEEDS = {"train": 1, "val": 2, "test": 3}


class TinyDataset(BaseDataset):
    def __init__(self, config, dataset_type, name="tiny"):
        super().__init__(name, config, dataset_type)
        generator = torch.Generator().manual_seed(SEEDS[dataset_type])
        self.x = torch.randn(config.sizes[dataset_type], 8, generator=generator)
        self.images = torch.randn(5, 8, generator=generator)
        self.labelled = self.is_labelled = dataset_type != "test" or config.labelled_test
        self.split = dataset_type
        if config.unique_images:
            self.collate = self.collate_unique

    def __len__(self):
        return len(self.x)

    def question_id(self, index):
        kinds = {"int": index, "str": f"q{index}", "long": 10**11 + index}
        return kinds[self.config.ids]

    def __getitem__(self, index):
        sample = Sample()
        sample.x = self.x[index]
        if self.config.augment and self.split == "train":
            sample.x = sample.x + 0.1 * torch.randn(8)
        if self.labelled:
            sample.targets = self.x[index, :3].argmax()
        if self.config.ballast:
            sample.ballast = torch.zeros(self.config.ballast, dtype=torch.uint8)
        sample.question_id = self.question_id(index)
        if self.config.trace:
            with open(f"{self.config.trace}-{self.split}", "a") as file:
                file.write(f"{index}\n")
        return sample

    def collate_unique(self, samples):
        batch = SampleList()
        for name in ("x", "targets") if self.labelled else ("x",):
            batch.add_field(name, torch.stack([sample[name] for sample in samples]))
        batch.add_field("image_index", torch.arange(len(samples)) % 5)
        batch["images"] = self.images
        batch.add_field("question_id", [sample.question_id for sample in samples])
        batch.add_field("dataset_name", self.dataset_name)
        batch.add_field("dataset_type", self.split)
        return batch

    def format_for_prediction(self, report):
        best = report.scores.argmax(dim=1).tolist()
        return [
            {"question_id": question_id, "answer": str(answer)}
            for question_id, answer in zip(report.question_id, best, strict=True)
        ]


@registry.register_builder("tiny")
class TinyBuilder(MMFDatasetBuilder):
    key = "tiny"

    def __init__(self):
        super().__init__(self.key, TinyDataset)

    @classmethod
    def config_path(cls):
        return str(Path(__file__).with_name("dataset.yaml"))

    def build(self, config, dataset_type="train", *args, **kwargs):
        pass

    def update_registry_for_model(self, config):
        pass

    def load(self, config, dataset_type="train", *args, **kwargs):
        self.config = config
        if not config.sizes.get(dataset_type):
            return None
        return TinyDataset(config, dataset_type, self.key)


@registry.register_builder("tiny_two")
class TinyTwoBuilder(TinyBuilder):
    """A second dataset, to train on a mixture."""

    key = "tiny_two"
