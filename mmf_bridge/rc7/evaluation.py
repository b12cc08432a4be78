"""The evaluation and prediction half of the rc7 trainer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from mmf.common.meter import Meter
from mmf.common.report import Report
from mmf.utils.distributed import is_master
from tqdm import tqdm

from mmf_bridge.common.evaluation import (
    FieldAccumulator,
    LossAverage,
    MetricMeans,
    NoTargetsError,
    fields_of,
)


class EvaluationLoop:
    """Mixed into the trainer: ``evaluate``, ``predict`` and ``inference``.

    Processes may have different numbers of batches here (even none), so nothing is communicated
    until a dataset is through, and the model runs without its DistributedDataParallel wrapper.
    """

    @torch.no_grad()
    def evaluate(
        self, loader: Any, use_tqdm: bool = False, single_batch: bool = False
    ) -> tuple[Report, Meter]:
        """Losses and metrics over a split of every dataset that has it.

        Args:
            loader: the split's ``MultiDatasetLoader``.
            use_tqdm: show a progress bar.
            single_batch: stop after one batch of each dataset.

        Returns:
            the last dataset's report, with the fields of all its samples that metrics need (those
            that are means over samples need none), and the meter.

        Raises:
            NoTargetsError: the split has no targets to compare with.
        """
        datasets = loader.datasets
        if not any(getattr(dataset, "is_labelled", True) for dataset in datasets):
            raise NoTargetsError(loader.dataset_type, datasets[0].dataset_name, "answers")
        meter, model = Meter(), self.evaluation_model()
        for dataset, batches in loader.one_by_one():
            shown = tqdm(batches, disable=not use_tqdm or not is_master(), desc="evaluating")
            report = self._evaluate_dataset(dataset, shown, model, single_batch)
            total = {f"{loader.dataset_type}/total_loss": sum(report.losses.values())}
            meter.update({**report.losses, **total, **report.metrics}, report.batch_size)
        self.model.train()
        return report, meter

    def _evaluate_dataset(
        self, dataset: Any, batches: Iterable[Any], model: torch.nn.Module, single_batch: bool
    ) -> Report:
        means = MetricMeans(self.metrics)
        wanted = fields_of(means.others)
        fields, losses = FieldAccumulator(wanted), LossAverage()
        for batch in self.until_interrupted(batches):
            report = self._forward_pass(batch, model)
            if self.config.evaluation.use_cpu:
                kept = {name: report[name] for name in wanted if name in report}
                report.update({k: v.cpu() for k, v in kept.items() if hasattr(v, "cpu")})
            losses.add(report.losses, report.batch_size)
            means.add(report)
            fields.add(report, report.batch_size)
            if single_batch:
                break

        names = (("dataset_name", dataset.dataset_name), ("dataset_type", dataset.dataset_type))
        whole = Report(names)
        whole.update(fields.joined())
        whole.losses, whole.batch_size = losses.mean()
        values, missing = means.mean()
        missing = sorted(missing | {name for name in wanted if name not in whole})
        if missing:
            raise NoTargetsError(dataset.dataset_type, dataset.dataset_name, ", ".join(missing))
        whole.metrics = {**values, **means.others(whole, whole)}
        return whole

    def _inference_run(self, dataset_type: str) -> None:
        loader = getattr(self, f"{dataset_type}_loader")
        if not loader.num_datasets:
            self.writer.write(f"{self.config.datasets} has no {dataset_type} split: nothing to do")
            return
        if self.config.evaluation.predict:
            self.predict(dataset_type)
            return
        self.writer.write(f"Starting inference on {dataset_type} set")
        try:
            report, meter = self.evaluate(loader, use_tqdm=True)
        except NoTargetsError as error:
            self.writer.write(f"Nothing to score: {error}")
            self.model.train()
            return
        self._summarize_report(meter, extra={"split": f"{report.dataset_name} {dataset_type}"})

    @torch.no_grad()
    def predict(self, dataset_type: str) -> None:
        """Write the predictions of a split: one file per dataset."""
        reporter = self.dataset_loader.get_test_reporter(dataset_type)
        model = self.evaluation_model()
        self.writer.write(f"Starting {dataset_type} inference predictions")
        while reporter.next_dataset():
            loader = reporter.get_dataloader()
            for batch in tqdm(loader, disable=not is_master(), desc="predicting"):
                prepared = reporter.prepare_batch(batch)
                with self.precision.autocast():
                    output = model(prepared)
                reporter.add_to_report(Report(prepared, output), model)
        self.writer.write("Finished predicting")
        self.model.train()
