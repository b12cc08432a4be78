"""What trackers of runs get of a model's predictions."""

from clipvil_mmf.tracking.pictures import picture_of_predictions

__all__ = ["picture_of_predictions"]
