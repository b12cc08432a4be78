"""The evaluation and prediction half of the trainer. Imported where MMF is there."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import torch
from mmf.common.meter import Meter
from mmf.common.report import Report

from mmf_bridge.common.console import say
from mmf_bridge.common.device_batches import on_device
from mmf_bridge.common.distributed import broadcast_buffers, get_rank, unwrap
from mmf_bridge.common.evaluation import (
    FieldAccumulator,
    LossAverage,
    MetricMeans,
    NoTargetsError,
    fields_of,
)
from mmf_bridge.common.interruption import EvaluationCut, interruption
from mmf_bridge.common.loading import has_workers
from mmf_bridge.common.progress import Progress
from mmf_bridge.common.run_report import note_scores
from mmf_bridge.common.scores import score_line
from mmf_bridge.common.training_meter import EvaluationMeter

# What a metric asks for that computes from the rows of a prediction file.
_PREDICTIONS = "__prediction_report__"
_DOING = {"val": "validating", "test": "testing", "train": "evaluating train"}


class Evaluator:
    """Mixed into the trainer, which says what it needs.

    Processes may have different numbers of batches here (even none), so nothing is communicated
    until a dataset is through, and the model runs without its DistributedDataParallel wrapper.
    """

    @cached_property
    def scores(self) -> dict[str, Any]:
        """What ``run_report.json`` says of the evaluations of this run."""
        return {}

    @cached_property
    def evaluated(self) -> list[str]:
        """What was evaluated after the training, for the console."""
        return []

    @cached_property
    def predicted(self) -> dict[str, Any]:
        """The prediction files that were written, by dataset."""
        return {}

    def announce(self, line: str) -> None:
        """Write a line into the log, and show it on the console."""
        self.writer.write(line)
        if get_rank() == 0:
            say(line)

    def inference(self) -> None:
        """Evaluate or predict the splits that ``run_type`` names (``val``; ``test`` by default)."""
        if "val" in self.run_type:
            self._inference_run("val")
        if any(word in self.run_type for word in ("inference", "test", "predict")):
            self._inference_run("test")

    def _inference_run(self, dataset_type: str) -> None:
        if not getattr(self, f"{dataset_type}_loader").num_datasets:
            self.announce(f"{self.config.datasets} has no {dataset_type} split: nothing to do")
        elif self.config.evaluation.predict:
            self.tell("on_prediction_start")
            self.prediction_loop(dataset_type)
            self.tell("on_prediction_end")
        else:
            self.tell("on_test_start")
            self.writer.write(f"Starting inference on {dataset_type} set")
            try:
                report, meter = self.evaluation_loop(dataset_type)
            except NoTargetsError as error:
                self.announce(f"Nothing to score: {error}")
                self.model.train()
                return
            self.tell("on_test_end", report=report, meter=meter)
            self.summarize(meter, {"split": f"{report.dataset_name} {dataset_type}"})
            self._note_scores(dataset_type, meter)

    def _note_scores(self, split: str, meter: Meter) -> None:
        """Tell the console and ``run_report.json`` what an evaluation has found."""
        if get_rank() != 0:
            return
        figures = {name: float(value.global_avg) for name, value in meter.meters.items()}
        criterion = self.early_stopping.early_stop_criteria
        line = score_line(split, figures, criterion, self.metrics.metrics)
        say(line)
        self.evaluated.append(line)
        found = {"update": self.num_updates, **figures}
        try:
            note_scores(self.config.env.save_dir, {split: found})
        except OSError as error:  # a report ends no run
            self.writer.write(f"The scores of {split} are not in the report: {error}", "warning")

    @torch.no_grad()
    def evaluation_loop(
        self, dataset_type: str, use_tqdm: bool = False, single_batch: bool = False
    ) -> tuple[Report, Meter]:
        """Losses and metrics over a split of every dataset that has it, or over a batch of each.

        Returns:
            the last dataset's report, with the fields of all its samples that metrics need (those
            that are means over samples need none), and the meter. As in stock MMF the report's
            ``losses`` are sums over this process's batches, and its other fields those of the first
            one; the meter has the means.

        Raises:
            NoTargetsError: the split has no targets to compare with.
            ValueError: no dataset has the split.
        """
        datasets = getattr(self, f"{dataset_type}_loader").get_datasets()
        if not datasets:
            raise ValueError(f"No dataset of {self.config.datasets} has a {dataset_type} split")
        if not any(getattr(dataset, "is_labelled", True) for dataset in datasets):
            raise NoTargetsError(dataset_type, datasets[0].dataset_name, "answers")
        meter, model = EvaluationMeter(), self._evaluation_model()
        reporter = self.dataset_loader.get_test_reporter(dataset_type)
        while reporter.next_dataset(flush_report=False):
            batches = self._until_interrupted(self._batches(reporter, _DOING[dataset_type]))
            report, losses = self._evaluate_dataset(
                reporter, dataset_type, batches, model, meter, single_batch
            )
            total = {f"{dataset_type}/total_loss": sum(losses.values())}
            figures = {**losses, **total, **report.metrics}
            means = {k: torch.as_tensor(v).float().mean().item() for k, v in figures.items()}
            meter.add(means, report.batch_size)
        self.model.train()
        return report, meter

    def _evaluate_dataset(
        self,
        reporter: Any,
        dataset_type: str,
        batches: Iterable[Any],
        model: torch.nn.Module,
        meter: EvaluationMeter,
        single_batch: bool,
    ) -> tuple[Report, dict[str, float]]:
        """The report of a dataset, and its mean losses by name."""
        means = MetricMeans(self.metrics)
        wanted = fields_of(means.others, without=(_PREDICTIONS,))
        fields, losses = FieldAccumulator(wanted), LossAverage()
        first, sums = None, Counter()
        predicts = _PREDICTIONS in self.metrics.required_params
        for batch in batches:
            report = self.forward_pass(batch, model)
            losses.add(report.losses, report.batch_size)
            means.add(report)
            meter.add_batch(report)
            sums.update({name: loss.detach().mean() for name, loss in report.losses.items()})
            first = report if first is None else first
            kept = {name: report[name] for name in wanted if name in report}
            if self.config.evaluation.use_cpu:
                kept = {k: v.cpu() if hasattr(v, "cpu") else v for k, v in kept.items()}
            fields.add(kept, report.batch_size)
            if predicts:
                reporter.add_to_report(report, model)
            if single_batch:
                break

        name = reporter.current_dataset.dataset_name
        whole = Report((("dataset_name", name), ("dataset_type", dataset_type)))
        whole.update(fields.joined())
        mean_losses, whole.batch_size = losses.mean()
        values, missing = means.mean()
        missing = sorted(missing | {field for field in wanted if field not in whole})
        if missing:
            raise NoTargetsError(dataset_type, name, ", ".join(missing))
        if predicts:
            reporter.postprocess_dataset_report()
            whole.prediction_report = reporter.report
        whole.metrics = {**values, **means.others(whole, whole)}
        whole.losses = dict(sums)
        # But for fields of metrics, which would seem to be of all samples.
        others = set(first or ()) - set(whole) - set(self.metrics.required_params)
        whole.update({name: first[name] for name in others})
        return whole, mean_losses

    @torch.no_grad()
    def prediction_loop(self, dataset_type: str) -> None:
        """Write the predictions of a split: one file per dataset."""
        reporter = self.dataset_loader.get_test_reporter(dataset_type)
        model = self._evaluation_model()
        self.writer.write(f"Starting {dataset_type} inference predictions")
        while reporter.next_dataset():
            for batch in self._batches(reporter, "predicting"):
                reporter.add_to_report(self.forward_pass(batch, model), model)
            reporter.postprocess_dataset_report()
        self.predicted.update(getattr(reporter, "written", {}))
        self.writer.write("Finished predicting")
        self.model.train()

    def forward_pass(self, batch: Any, model: torch.nn.Module) -> Report:
        """What the model makes of a prepared batch, in the run's precision."""
        with self.precision.autocast():
            output = model(batch)
        self.profile("Forward time")
        return Report(batch, output)

    def on_device(self, batch: Any) -> Any:
        """The batch on the run's device; one of a class that cannot be moved as it is."""
        return batch.to(self.device) if hasattr(batch, "to") else batch

    def _batches(self, reporter: Any, doing: str) -> Iterator[Any]:
        loader = reporter.get_dataloader()
        prepared = map(reporter.prepare_batch, loader)
        batches = on_device(
            prepared, self.on_device, torch.device(self.device), ahead=has_workers(loader)
        )
        with Progress(doing, len(loader), "batches", shown=get_rank() == 0) as progress:
            for batch in batches:
                yield batch
                progress.update()

    def _until_interrupted(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches of an evaluation, whose numbers differ between processes."""
        for batch in batches:
            yield batch
            if interruption.asked is not None:
                break
        if interruption.asked_anywhere(self.device):
            raise EvaluationCut(interruption.asked or signal.SIGTERM)

    def _evaluation_model(self) -> torch.nn.Module:
        """The bare model in evaluation mode, its BatchNorm statistics equal on all processes."""
        broadcast_buffers(self.model)
        self.model.eval()
        return unwrap(self.model)
