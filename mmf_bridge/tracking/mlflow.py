"""MLflow (https://mlflow.org/docs/latest/ml/tracking)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mmf_bridge.tracking.tracker import TrackedRun, Tracker, check_params

if TYPE_CHECKING:
    from PIL import Image

logger = logging.getLogger(__name__)

_BATCH = 100  # params that MLflow takes at once
_LONGEST = 500  # characters of a value of theirs that every one of its stores takes


class MLflow(Tracker):
    """``params``: tracking_uri (by default MLFLOW_TRACKING_URI, or MLflow's own) and tags."""

    package = "mlflow"

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        check_params("mlflow", run.params, _begin, but=("client", "run"))
        from mlflow import MlflowClient, entities

        self._entities = entities
        self._client = MlflowClient(tracking_uri=run.params.get("tracking_uri"))
        if run.id is None or not self._is_there(run.id):
            self.id = _begin(self._client, run, **run.params)
            self._log_config(run.config)
        else:
            self.id = run.id
            self._client.update_run(self.id, status="RUNNING")
        self.place = f"{self._client.tracking_uri}, run {self.id}"

    def _is_there(self, run_id: str) -> bool:
        """Whether a run can go on: it has not been deleted, and the store is the same."""
        from mlflow.exceptions import MlflowException

        try:
            is_there = self._client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            is_there = False
        if not is_there:
            store = self._client.tracking_uri
            logger.warning("mlflow begins a new run: %s has no run %s any more", store, run_id)
        return is_there

    def _log_config(self, config: Mapping[str, Any]) -> None:
        params = [self._entities.Param(name, text[:_LONGEST]) for name, text in _leaves(config)]
        for first in range(0, len(params), _BATCH):
            self._client.log_batch(self.id, params=params[first : first + _BATCH])

    def scalars(self, figures: Mapping[str, float], step: int) -> None:
        now = int(1000 * time.time())
        metrics = [self._entities.Metric(name, v, now, step) for name, v in figures.items()]
        self._client.log_batch(self.id, metrics=metrics)

    def picture(self, name: str, picture: Image.Image, step: int) -> None:
        self._client.log_image(self.id, picture, key=name, step=step)

    def summary(self, figures: Mapping[str, float | int | str]) -> None:
        for name, figure in figures.items():
            set_one = self._client.set_tag if isinstance(figure, str) else self._client.log_metric
            set_one(self.id, f"run/{name}", figure)

    def close(self, is_complete: bool) -> None:
        self._client.set_terminated(self.id, "FINISHED" if is_complete else "KILLED")


def _begin(client: Any, run: TrackedRun, tracking_uri: str | None = None, tags: Any = None) -> str:
    """The id of a new run, in the experiment that has the project's name."""
    found = client.get_experiment_by_name(run.project)
    experiment = client.create_experiment(run.project) if found is None else found.experiment_id
    return client.create_run(experiment, run_name=run.name, tags=tags).info.run_id


def _leaves(section: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, text) of a configuration; lists are values."""
    for key, value in section.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", str(value)
