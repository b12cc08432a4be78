"""The evaluation and prediction half of the rc7 trainer."""

from __future__ import annotations

from typing import Any

import torch
from mmf.common.meter import Meter
from mmf.common.report import Report
from mmf.utils.distributed import is_master
from tqdm import tqdm

from mmf_bridge.common.distributed import broadcast_buffers, unwrap
from mmf_bridge.common.evaluation import FieldAccumulator, LossAverage


class EvaluationLoop:
    """Mixed into the trainer: ``evaluate``, ``predict`` and ``inference``.

    Processes may have different numbers of batches here, so nothing is communicated until the
    split is through, and the model runs without its DistributedDataParallel wrapper.
    """

    @torch.no_grad()
    def evaluate(
        self, loader: Any, use_tqdm: bool = False, single_batch: bool = False
    ) -> tuple[Report, Meter]:
        """Losses and metrics over a split.

        Returns:
            the last batch's report with the whole split's metric fields, and the meter.

        Raises:
            ValueError: the split has no targets to compare with.
        """
        model = self._evaluation_model()
        wanted = self.metrics.required_params - {"dataset_name", "dataset_type"}
        accumulator, losses = FieldAccumulator(wanted), LossAverage()
        report = None
        for batch in tqdm(loader, disable=not use_tqdm or not is_master(), desc="evaluating"):
            report = self._forward_pass(batch, model)
            if self.config.evaluation.use_cpu:
                report.update({k: v.cpu() for k, v in report.items() if hasattr(v, "cpu")})
            losses.add(report.losses, report.batch_size)
            accumulator.add(report, report.batch_size)
            if single_batch:
                break
        if report is None:
            raise ValueError(
                "A process has nothing to evaluate: the split is smaller than the number of "
                "processes. Use fewer processes"
            )

        meter = Meter()
        means, count = losses.mean()
        report.update(accumulator.joined())
        report.batch_size = count
        missing = [name for name in wanted if name not in report]
        if missing:
            raise ValueError(
                f"The {report.dataset_type} split of {report.dataset_name} has no "
                f"{', '.join(missing)}, which the metrics {list(self.metrics.metrics)} need. For "
                "an unlabelled split, run mmf_predict, or evaluation.predict=true"
            )
        report.metrics = self.metrics(report, report)
        meter.update({**means, f"{report.dataset_type}/total_loss": sum(means.values())}, count)
        meter.update(report.metrics, count)
        self.model.train()
        return report, meter

    def _evaluation_model(self) -> torch.nn.Module:
        broadcast_buffers(self.model)
        self.model.eval()
        return unwrap(self.model)

    def inference(self) -> None:
        """Evaluate or predict the splits that ``run_type`` names (``val``; ``test`` by default)."""
        if "val" in self.run_type:
            self._inference_run("val")
        if any(word in self.run_type for word in ("inference", "test", "predict")):
            self._inference_run("test")

    def _inference_run(self, dataset_type: str) -> None:
        loader = getattr(self, f"{dataset_type}_loader")
        if not loader.num_datasets:
            self.writer.write(f"{self.config.datasets} has no {dataset_type} split: nothing to do")
            return
        if self.config.evaluation.predict:
            self.predict(dataset_type)
            return
        if all(getattr(dataset, "is_labelled", True) is False for dataset in loader.datasets):
            self.writer.write(
                f"The {dataset_type} split of {self.config.datasets} has no answers: nothing to "
                "score. mmf_predict writes its predictions"
            )
            return
        self.writer.write(f"Starting inference on {dataset_type} set")
        report, meter = self.evaluate(loader, use_tqdm=True)
        self._summarize_report(meter, extra={"split": f"{report.dataset_name} {dataset_type}"})

    @torch.no_grad()
    def predict(self, dataset_type: str) -> None:
        """Write the predictions of a split: one file per dataset."""
        reporter = self.dataset_loader.get_test_reporter(dataset_type)
        model = self._evaluation_model()
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
