"""The name tables of LXMERT and of pre-trained checkpoints."""

from __future__ import annotations

from clipvil_mmf.checkpoints.published.layouts import Kind, Layout
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.pretraining import PretrainingNetwork
from tests.golden.compare import TINY
from tests.golden.lxmert import TINY_LXMERT
from tests.golden.published import CROSS_MODAL

GRID = {**TINY, "fusion": TINY_LXMERT["fusion"]}


def test_every_name_over_regions_and_over_a_grid() -> None:
    published = CROSS_MODAL.published
    for sections in (TINY_LXMERT, GRID):
        names = [published(name) for name in ClipVilNetwork.from_config(**sections).state_dict()]
        assert len(set(names)) == len(names)
    bert = "lxrt_encoder.model.bert"
    assert published("visual_embedding.positions.rows.weight") == (
        f"{bert}.encoder.visual_pos.x_position_embedding.weight"
    )
    assert published("fusion.cross_layers.4.visual.feed_forward.output.bias") == (
        f"{bert}.encoder.x_layers.4.visn_output.dense.bias"
    )


def test_weight_decay_rule_by_name_survives() -> None:
    """Published optimizers spare names with `bias` or `LayerNorm.weight`; ours pick the same."""
    fine_tuned = CROSS_MODAL.published
    pretrained = Layout(Kind.pretrained)
    for name in PretrainingNetwork.from_config(**TINY_LXMERT).state_dict():
        published = fine_tuned(name)
        for theirs in (published, pretrained.in_file(published)):
            for part in ("bias", "LayerNorm.weight"):
                assert (part in name) is (part in theirs), name


def test_a_pretrained_name_is_made_of_a_fine_tuned_one() -> None:
    fine_tuned = CROSS_MODAL.published
    layout = Layout(Kind.pretrained)
    expected = {
        "fusion.pooler.bias": "bert.pooler.dense.bias",
        "classifier.output.bias": "answer_head.logit_fc.3.bias",
        "pretraining.word_bias": "cls.predictions.bias",
    }
    for ours, theirs in expected.items():
        assert layout.in_file(fine_tuned(ours)) == theirs
        assert layout.canonical(theirs) == fine_tuned(ours)


def test_the_tie_has_a_reason_of_its_own() -> None:
    """The first prefix that fits gives the reason."""
    key = "cls.predictions.decoder.weight"
    assert CROSS_MODAL.why_unused(key).startswith("tied")
