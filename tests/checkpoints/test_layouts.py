"""Files are recognised by their keys, and their keys come back."""

from __future__ import annotations

import pytest

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.checkpoints.published.layouts import Kind, Layout, detect_layout
from clipvil_mmf.checkpoints.published.names import table_for, table_of_published
from tests.checkpoints.conftest import golden_state
from tests.checkpoints.test_round_trip import bert_state, clip_state
from tests.golden.published import CROSS_MODAL, JOINT

FILES = {
    "finetuned": (golden_state("unipt"), Layout(Kind.finetuned)),
    "pretrained": (golden_state("pretrain"), Layout(Kind.pretrained)),
    "clip": (clip_state(), Layout(Kind.clip)),
    "tower": (clip_state(bare=True), Layout(Kind.clip, bare=True)),
    "bert": (bert_state(), Layout(Kind.bert)),
    "old bert": (bert_state(old=True), Layout(Kind.bert, old_norms=True)),
    "bare bert": (bert_state(bare=True), Layout(Kind.bert, bare=True)),
}


@pytest.mark.parametrize("name", FILES)
def test_known_files(name: str) -> None:
    keys, layout = FILES[name]
    assert detect_layout(keys, "file") == layout
    assert [layout.in_file(layout.canonical(key)) for key in keys] == list(keys)
    assert len({layout.canonical(key) for key in keys}) == len(keys)


def test_unknown_files() -> None:
    with pytest.raises(CheckpointError, match=r"is not a checkpoint of a known layout.*such as"):
        detect_layout(["model.a", "model.b"], "file")
    with pytest.raises(CheckpointError, match="is not a pretrained checkpoint, but a bert one"):
        detect_layout(bert_state(), "file", Kind.pretrained)


@pytest.mark.parametrize("table", [JOINT, CROSS_MODAL])
def test_tables_read_both_ways(table) -> None:
    for ours in table.names:
        name = ours.replace("{}", "7") + "x"
        assert table.ours(table.published(name)) == name
    assert len(set(table.names.values())) == len(table.names)


def test_the_table_of_an_architecture() -> None:
    assert table_of_published(golden_state("lxmert")) == CROSS_MODAL
    assert table_of_published(golden_state("sherl")) == JOINT
    assert table_for(["fusion.cross_layers.0.language.attention.query.weight"]) == CROSS_MODAL
    assert table_for(["fusion.layers.0.attention.query.weight"]) == JOINT


@pytest.mark.parametrize("name", ["lora", "adapter"])
def test_the_task_in_the_keys(name: str) -> None:
    keys = [key.replace("s.vqa", "s.gqa") for key in golden_state(name)]
    layout = detect_layout(keys, "file")
    assert layout == Layout(Kind.finetuned, task="gqa")
    assert {layout.canonical(key) for key in keys} == set(golden_state(name))
    assert [layout.in_file(layout.canonical(key)) for key in keys] == keys
