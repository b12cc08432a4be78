"""Trackers of runs: Weights & Biases, TensorBoard, Trackio, MLflow; see docs/tracking.md.

A tracker is a file of this package with a class (:class:`mmf_bridge.tracking.tracker.Tracker`) and
a line in :data:`TRACKERS`. A module is imported where a run names its tracker, and a tracker's
package where it begins.
"""

from __future__ import annotations

# Name in `training.trackers.use` -> "module:class". A plugin may add its own.
TRACKERS: dict[str, str] = {
    "tensorboard": "mmf_bridge.tracking.tensorboard:TensorBoard",
    "wandb": "mmf_bridge.tracking.wandb:Wandb",
    "trackio": "mmf_bridge.tracking.trackio:Trackio",
    "mlflow": "mmf_bridge.tracking.mlflow:MLflow",
}
