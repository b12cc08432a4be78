"""What training on rc7 alone has."""

import pytest

from tests.bridge.runs import run_here

SHORT = ("run_type=train", "training.evaluation_interval=100", "training.checkpoint_interval=100")


def test_several_datasets_without_proportions_cannot_accumulate(tmp_path):
    opts = (*SHORT, "dataset=tiny,tiny_two", "training.dataset_size_proportional_sampling=false")
    run_here(tmp_path / "one", *opts, "training.max_updates=25")
    with pytest.raises(ValueError, match="dataset_size_proportional_sampling=true"):
        run_here(tmp_path / "two", *opts, "training.update_frequency=2")
