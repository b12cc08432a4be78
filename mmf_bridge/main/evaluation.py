"""The evaluation and prediction half of the main trainer."""

from __future__ import annotations

import logging
from typing import Any

import torch
from mmf.common.meter import Meter
from mmf.common.report import Report
from mmf.utils.distributed import is_main
from tqdm import tqdm

from mmf_bridge.common.evaluation import (
    FieldAccumulator,
    LossAverage,
    MetricMeans,
    NoTargetsError,
    fields_of,
)

logger = logging.getLogger("mmf.trainers.core.evaluation_loop")

_PREDICTIONS = "__prediction_report__"


class EvaluationLoop:
    """Mixed into the trainer: ``evaluation_loop``, ``prediction_loop`` and ``inference``.

    Processes may have different numbers of batches here (even none), so nothing is communicated
    until a dataset is through, and the model runs without its DistributedDataParallel wrapper.
    """

    @torch.no_grad()
    def evaluation_loop(
        self, dataset_type: str, use_tqdm: bool = False, single_batch: bool = False
    ) -> tuple[Report, Meter]:
        """Losses and metrics over a split of every dataset that has it.

        Args:
            dataset_type: val or test.
            use_tqdm: show a progress bar.
            single_batch: stop after one batch of each dataset.

        Returns:
            the last dataset's report, with the fields of all its samples that metrics need (those
            that are means over samples need none), and the meter.

        Raises:
            NoTargetsError: the split has no targets to compare with.
            ValueError: no dataset has the split.
        """
        datasets = getattr(self, f"{dataset_type}_loader").get_datasets()
        if datasets and not any(getattr(dataset, "is_labelled", True) for dataset in datasets):
            raise NoTargetsError(dataset_type, datasets[0].dataset_name, "answers")
        meter, combined = Meter(), None
        reporter = self.dataset_loader.get_test_reporter(dataset_type)
        model = self.evaluation_model()
        while reporter.next_dataset(flush_report=False):
            loader = reporter.get_dataloader()
            combined = self._evaluate_dataset(reporter, loader, model, use_tqdm, single_batch)
            total = {f"{dataset_type}/total_loss": sum(combined.losses.values())}
            meter._update({**combined.losses, **total, **combined.metrics}, combined.batch_size)
        if combined is None:
            raise ValueError(f"No dataset of {self.config.datasets} has a {dataset_type} split")
        self.model.train()
        return combined, meter

    def _evaluate_dataset(
        self, reporter: Any, loader: Any, model: torch.nn.Module, use_tqdm: bool, single_batch: bool
    ) -> Report:
        means = MetricMeans(self.metrics)
        wanted = fields_of(means.others, without=(_PREDICTIONS,))
        fields, losses = FieldAccumulator(wanted), LossAverage()
        use_cpu = self.config.evaluation.get("use_cpu", False)
        shown = tqdm(loader, disable=not use_tqdm or not is_main(), desc="evaluating")
        for batch in self.until_interrupted(shown):
            report = self._forward(reporter.prepare_batch(batch), model)
            if use_cpu:
                report = report.to("cpu", non_blocking=False, fields=[*wanted])
            losses.add(report.losses, report.batch_size)
            means.add(report)
            fields.add(report, report.batch_size)
            if _PREDICTIONS in self.metrics.required_params:
                reporter.add_to_report(report, model)
            if single_batch:
                break

        averages, count = losses.mean()
        combined = Report()
        combined.update(fields.joined())
        combined.dataset_name = reporter.current_dataset.dataset_name
        combined.dataset_type = reporter.dataset_type
        combined.batch_size = count
        combined.losses = averages
        values, missing = means.mean()
        missing = sorted(missing | {name for name in wanted if name not in combined})
        if missing:
            lacks = ", ".join(missing)
            raise NoTargetsError(combined.dataset_type, combined.dataset_name, lacks)
        reporter.postprocess_dataset_report()
        combined.prediction_report = reporter.report
        combined.metrics = {**values, **means.others(combined, combined)}
        return combined

    def _inference_run(self, dataset_type: str) -> None:
        loader = getattr(self, f"{dataset_type}_loader")
        if not loader.num_datasets:
            logger.info(f"{self.config.datasets} has no {dataset_type} split: nothing to do")
            return
        if self.config.evaluation.predict:
            self.on_prediction_start()
            self.prediction_loop(dataset_type)
            self.on_prediction_end()
            return
        self.on_test_start()
        try:
            logger.info(f"Starting inference on {dataset_type} set")
            report, meter = self.evaluation_loop(dataset_type, use_tqdm=True)
        except NoTargetsError as error:
            logger.info(f"Nothing to score: {error}")
            self.model.train()
            return
        self.on_test_end(report=report, meter=meter)

    @torch.no_grad()
    def prediction_loop(self, dataset_type: str) -> None:
        """Write the predictions of a split: one file per dataset."""
        reporter = self.dataset_loader.get_test_reporter(dataset_type)
        model = self.evaluation_model()
        logger.info(f"Starting {dataset_type} inference predictions")
        while reporter.next_dataset():
            for batch in tqdm(reporter.get_dataloader(), disable=not is_main(), desc="predicting"):
                reporter.add_to_report(self._forward(reporter.prepare_batch(batch), model), model)
            reporter.postprocess_dataset_report()
        logger.info("Finished predicting")
        self.model.train()
