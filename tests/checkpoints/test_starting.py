"""What a run takes from checkpoints of other formats, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.checkpoints.native import read_saved
from clipvil_mmf.checkpoints.published.convert import import_checkpoint
from clipvil_mmf.checkpoints.starting import (
    Run,
    load_starting_weights,
    starting_weights,
    whole_weights,
)
from clipvil_mmf.checkpoints.tuned import backbone_hash, trainable_names, write_tuned
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.pretraining import PretrainingNetwork
from clipvil_mmf.tuning import METHODS, TuningMethod
from clipvil_mmf.weight_files import read_weights
from tests.checkpoints.conftest import BERT, HEADS, golden_state
from tests.checkpoints.test_round_trip import bert_state, clip_state, round_trip
from tests.golden.compare import TINY
from tests.golden.tuned import SECTIONS

ANSWERS = [f"answer {row}" for row in range(13)]
WORDS = [f"word {row}" for row in range(200)]
RUN = Run(ANSWERS, WORDS)


@pytest.fixture
def network() -> ClipVilNetwork:
    return ClipVilNetwork.from_config(**TINY)


def imported(path: Path, tmp_path: Path, answers: list[str] | None = None) -> Path:
    options = {}
    if answers is not None:
        (tmp_path / "answers.json").write_text(json.dumps(answers))
        options = {"answers": tmp_path / "answers.json"}
    import_checkpoint(path, path.with_suffix(""), config=HEADS, **options)
    return path.with_suffix("")


@pytest.mark.parametrize("through_import", [True, False])
def test_clip_gives_the_tower_and_bert_the_text_part(network, tmp_path, through_import) -> None:
    torch.save(clip_state(), tmp_path / "clip.pt")
    torch.save(bert_state(old=True), tmp_path / "bert.bin")
    expected = golden_state("clipvil_full")
    for name, part, count in (
        ("clip.pt", "image_encoder.tower.", 114),
        ("bert.bin", "fusion.", 55),
    ):
        path = tmp_path / name
        path = imported(path, tmp_path) if through_import else path
        weights = starting_weights(network, path, RUN)
        assert len(weights) == sum(key.startswith(part) for key in network.state_dict())
        assert all(name.startswith(part) for name in weights)
        assert len(weights) == count
    assert torch.equal(
        weights["fusion.layers.1.attention.LayerNorm.weight"],
        expected[f"{BERT}encoder.layer.1.attention.output.LayerNorm.weight"],
    )


def test_a_deeper_bert_gives_its_first_layers(tmp_path) -> None:
    fusion = {**TINY["fusion"], "params": {**TINY["fusion"]["params"], "num_hidden_layers": 2}}
    network = ClipVilNetwork.from_config(**{**TINY, "fusion": fusion})
    torch.save(bert_state(), tmp_path / "bert.bin")
    weights = starting_weights(network, tmp_path / "bert.bin", RUN)
    assert "fusion.layers.1.feed_forward.output.weight" in weights
    assert not any("layers.2." in name for name in weights)


def test_a_part_is_nothing_to_resume(network, tmp_path) -> None:
    torch.save(clip_state(), tmp_path / "clip.pt")
    with pytest.raises(CheckpointError, match=r"holds a clip model alone.*clipvil\.pretrained="):
        whole_weights(network, clip_state(), tmp_path / "clip.pt", RUN)


def test_rows_go_by_answer(network, publish, tmp_path) -> None:
    folder = imported(publish("clipvil_full"), tmp_path, ANSWERS[::-1])
    weights = starting_weights(network, folder, RUN)
    expected = golden_state("clipvil_full")
    assert torch.equal(weights["classifier.output.bias"], expected["logit_fc.3.bias"].flip(0))
    with pytest.raises(CheckpointError, match=r"1 of this run's are not among them \('more'\)"):
        task = Run([*ANSWERS[:-1], "more"], WORDS)
        whole_weights(network, read_weights(folder / "model.safetensors"), folder, task)


@pytest.mark.parametrize("left_by", ["import", "run"])
def test_a_fine_tuned_model_for_other_labels(publish, tmp_path, caplog, left_by) -> None:
    """The rows of labels that both know are taken by text, the others start fresh."""
    caplog.set_level("INFO")
    labels = ["new", ANSWERS[7], "newer", ANSWERS[0]]
    network = ClipVilNetwork.from_config(**{**TINY, "num_labels": len(labels)})
    fresh = network.state_dict()["classifier.output.weight"].clone()
    if left_by == "import":
        start = imported(publish("clipvil_full"), tmp_path, ANSWERS)
        rows = golden_state("clipvil_full")["logit_fc.3.weight"]
    else:
        trained = ClipVilNetwork.from_config(**TINY)
        start = left_by_mmf(trained, tmp_path / "run", "best.ckpt")
        rows = trained.state_dict()["classifier.output.weight"]
    load_starting_weights(network, [start], Run(labels, WORDS))
    head = network.state_dict()["classifier.output.weight"]
    assert torch.equal(head[1], rows[7]) and torch.equal(head[3], rows[0])
    assert torch.equal(head[[0, 2]], fresh[[0, 2]])
    assert "2 of this run's 4 labels are among its own" in caplog.text


def test_a_head_without_names_of_its_label_rows_starts_fresh(publish, tmp_path, caplog) -> None:
    folder = imported(publish("clipvil_full"), tmp_path, ANSWERS)
    network = ClipVilNetwork.from_config(**TINY)
    network.classifier.label_tensors = ()
    weights = starting_weights(network, folder, Run(ANSWERS[::-1], WORDS))
    assert not any(name.startswith("classifier.") for name in weights)
    assert "the head keeps its initialisation: the head does not say" in caplog.text


@pytest.mark.parametrize("prefixed", ["all", "some"])
def test_prefixes_of_distributed_training_make_no_difference(
    network, publish, tmp_path, prefixed
) -> None:
    expected = starting_weights(network, publish("clipvil_full", ddp=False), RUN)
    state = golden_state("clipvil_full")
    keys = list(state) if prefixed == "all" else list(state)[::2]
    torch.save({f"module.{k}" if k in keys else k: v for k, v in state.items()}, tmp_path / "a.pth")
    found = starting_weights(network, tmp_path / "a.pth", RUN)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    run = {f"module.network.{name}": tensor for name, tensor in expected.items()}
    run["module._extra_state"] = {"text": WORDS, "answer": ANSWERS}
    torch.save({"model": run}, tmp_path / "best.ckpt")
    found = starting_weights(network, tmp_path / "best.ckpt", RUN)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_trunk_of_a_pre_trained_file_needs_no_table(network, publish, tmp_path, caplog) -> None:
    caplog.set_level("INFO")
    path = publish("pretrain")
    for start in (path, imported(path, tmp_path)):
        caplog.clear()
        before = {name: value.clone() for name, value in network.classifier.state_dict().items()}
        weights = starting_weights(network, start, RUN)
        trunk = {name for name in network.state_dict() if not name.startswith("classifier.")}
        assert weights.keys() == trunk
        load_starting_weights(network, [start], RUN)
        after = network.classifier.state_dict()
        assert all(torch.equal(after[name], before[name]) for name in before)
        assert "6 of the network keep their initialisation" in caplog.text
        assert "all_ans.json, are not known" in caplog.text


def test_another_number_of_answers(network, publish) -> None:
    with pytest.raises(CheckpointError, match=r"answers with 13 answers.*vocabulary has 2"):
        starting_weights(network, publish("clipvil_full"), Run(["yes", "no"], WORDS))


def test_the_words_must_be_the_same(network, publish, tmp_path) -> None:
    path = publish("clipvil_full")
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    import_checkpoint(path, tmp_path / "a", config=HEADS, vocabulary=tmp_path / "vocab.txt")
    starting_weights(network, tmp_path / "a", RUN)
    with pytest.raises(CheckpointError, match="another text vocabulary"):
        starting_weights(network, tmp_path / "a", Run(ANSWERS, WORDS[::-1]))


def test_the_pre_training_table(network, publish, tmp_path) -> None:
    path = publish("pretrain")
    rows = golden_state("pretrain")["answer_head.logit_fc.3.weight"]
    table = [f"The answer {row}"[4:] for row in range(len(rows))][::-1]
    answers = ["an answer 3.", "nothing", *ANSWERS[2:]]
    (tmp_path / "table.json").write_text(json.dumps(table))
    task = Run(answers, WORDS, str(tmp_path / "table.json"))
    for start in (path, imported(path, tmp_path, table)):
        head = starting_weights(network, start, task)["classifier.output.weight"]
        assert torch.equal(head[0], rows[len(rows) - 1 - 3])
        assert not head[1].any()
    (tmp_path / "table.json").write_text(json.dumps(table[:-1]))
    with pytest.raises(CheckpointError, match=r"of 13 rows, but the answer table has 12"):
        starting_weights(network, path, task)
    with pytest.raises(CheckpointError, match=r"is not at .*gone\.json"):
        starting_weights(network, path, Run(answers, WORDS, str(tmp_path / "gone.json")))
    with pytest.raises(CheckpointError, match=r"is not at .*all_ans\.json"):
        whole_weights(network, read_weights(path), path, RUN)


def left_by_mmf(network, folder, name, answers=ANSWERS):
    """What a run of MMF writes: a checkpoint with more in it, or the model alone."""
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    state["_extra_state"] = {"text": WORDS, "answer": answers}
    folder.mkdir(exist_ok=True)
    torch.save(
        {"model": state, "optimizer": {}} if name.endswith(".ckpt") else state, folder / name
    )
    return folder


@pytest.mark.parametrize("name", ["best.ckpt", "clipvil_final.pth"])
def test_a_run_of_mmf(network, tmp_path, name) -> None:
    expected = ClipVilNetwork.from_config(**TINY).state_dict()
    other = ClipVilNetwork.from_config(**TINY)
    other.load_state_dict(expected)
    folder = left_by_mmf(other, tmp_path / "run", name)
    for path in (folder, folder / name):
        weights = starting_weights(network, path, RUN)
        assert weights.keys() == expected.keys()
        assert all(torch.equal(weights[key], expected[key]) for key in expected)
    weights = starting_weights(network, folder, Run(ANSWERS[::-1], WORDS))
    assert torch.equal(
        weights["classifier.output.weight"], expected["classifier.output.weight"].flip(0)
    )
    with pytest.raises(CheckpointError, match="another text vocabulary"):
        starting_weights(network, folder, Run(ANSWERS, WORDS[::-1]))


def test_a_folder_without_a_model(network, tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no model: neither model\.safetensors"):
        starting_weights(network, tmp_path, RUN)


@pytest.mark.parametrize("method", SECTIONS)
def test_a_plain_checkpoint_is_the_start_of_every_tuning_method(publish, tmp_path, method) -> None:
    """What the method adds keeps its initialisation; the backbone comes from the checkpoint."""
    network = ClipVilNetwork.from_config(**TINY, tuning=SECTIONS[method])
    plain = ClipVilNetwork.from_config(**TINY)
    run = left_by_mmf(plain, tmp_path / "run", "best.ckpt")
    for path in (publish("clipvil_full"), run):
        weights = starting_weights(network, path, RUN)
        assert len(weights) == len(plain.state_dict())
        added = network.state_dict().keys() - weights.keys()
        assert added
        assert all(key.startswith("tuning.") or ".lora_" in key for key in added)


def test_a_pruned_ladder_comes_from_the_weights_that_were_loaded(publish) -> None:
    section = {"method": "ladder", "params": {**SECTIONS["lst"]["params"]}}
    section["params"]["initialization"] = "magnitude"
    network = ClipVilNetwork.from_config(**TINY, tuning=section)
    load_starting_weights(network, [publish("clipvil_full")], RUN)
    value = network.tuning.blocks[0].attention.value
    loaded = network.fusion.layers[0].attention.value.bias
    assert loaded.any()
    assert set(value.bias.tolist()) <= set(loaded.tolist())


@pytest.mark.parametrize("initialization", ["magnitude", "fisher"])
def test_a_ladder_of_a_checkpoint_is_not_pruned_again(initialization, publish) -> None:
    section = {"method": "ladder", "params": {**SECTIONS["lst"]["params"]}}
    section["params"]["initialization"] = initialization
    network = ClipVilNetwork.from_config(**TINY, tuning=section)
    path = publish("lst")
    load_starting_weights(network, [path], RUN)
    expected = starting_weights(network, path, RUN)
    state = network.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    assert network.tuning.samples_wanted == 0


def test_a_tuned_run_is_the_start_of_its_method_alone(network, tmp_path) -> None:
    tuned = ClipVilNetwork.from_config(**TINY, tuning=SECTIONS["unipt"])
    folder = left_by_mmf(tuned, tmp_path / "run", "best.ckpt")
    assert starting_weights(tuned, folder, RUN).keys() == tuned.state_dict().keys()
    with pytest.raises(CheckpointError, match="was tuned by another method"):
        starting_weights(network, folder, RUN)
    config = {"model_config": {"clipvil": {"tuning": SECTIONS["unipt"]}}}
    OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
    for other in (network, ClipVilNetwork.from_config(**TINY, tuning=SECTIONS["sherl"])):
        with pytest.raises(CheckpointError, match="was tuned with unipt"):
            starting_weights(other, folder, RUN)


@dataclass
class PlainConfig:
    """Nothing to set."""


class Centred(TuningMethod):
    """A running mean, which training moves."""

    def __init__(self, config: PlainConfig, network: ClipVilNetwork) -> None:
        super().__init__(config, network)
        self.register_buffer("mean", torch.zeros(network.fusion.hidden_size))
        self.register_buffer("scratch", torch.zeros(1), persistent=False)


def test_buffers_of_a_method_are_not_of_the_backbone(monkeypatch) -> None:
    monkeypatch.setitem(METHODS, "centred", (PlainConfig, Centred))
    network = ClipVilNetwork.from_config(**TINY, tuning={"method": "centred"})
    before = backbone_hash(network)
    network.tuning.mean += 1
    assert backbone_hash(network) == before
    added = {name for name in trainable_names(network) if name.startswith("tuning.")}
    assert added == {"tuning.mean"}


def test_what_was_tuned_alone_is_not_a_start(network, tmp_path) -> None:
    tuned = {"network.classifier.output.bias": torch.zeros(13)}
    file = write_tuned(tmp_path, tuned, {"answer": ANSWERS, "text": WORDS})
    with pytest.raises(CheckpointError, match=r"clipvil merge .*tuned\.safetensors --output"):
        starting_weights(network, file, RUN)


def test_weights_without_their_configuration(network, publish, tmp_path) -> None:
    folder = imported(publish("clipvil_full"), tmp_path)
    (folder / "config.yaml").unlink()
    for path in (folder, folder / "model.safetensors"):
        with pytest.raises(CheckpointError, match=r"config\.yaml is missing"):
            starting_weights(network, path, RUN)


def test_the_heads_of_pre_training_are_loaded_where_they_are_wanted(publish, tmp_path) -> None:
    from clipvil_mmf.checkpoints.published.layouts import detect_layout
    from tests.golden.published import load_published

    state = read_weights(publish("pretrain"))
    network = PretrainingNetwork.from_config(**TINY)
    layout = detect_layout(state, "it")
    report = load_published(network, {layout.canonical(key): t for key, t in state.items()})
    assert "cls.predictions.bias" in report.loaded
    assert report.unused["cls.predictions.decoder.weight"].startswith("tied to the word")


def test_bert_gives_the_pre_training_heads_too(tmp_path) -> None:
    """So matching begins as BERT's next sentence, as published."""
    state = bert_state()
    heads = {key: value for key, value in golden_state("pretrain").items() if "cls." in key}
    torch.save({**state, **heads}, tmp_path / "bert.bin")
    network = PretrainingNetwork.from_config(**{**TINY, "num_labels": 0})
    found = starting_weights(network, tmp_path / "bert.bin", RUN)
    pretraining = {name for name in network.state_dict() if name.startswith("pretraining.")}
    assert pretraining <= set(found) and len(pretraining) == 7
    assert torch.equal(found["pretraining.matching.weight"], heads["cls.seq_relationship.weight"])


def test_a_pre_training_run_of_either_stage(network, tmp_path, caplog) -> None:
    """Its heads are left out of a task's network; with answers their rows go by text."""
    caplog.set_level("INFO")
    for labels in (0, 13):
        run = PretrainingNetwork.from_config(**{**TINY, "num_labels": labels})
        state = {f"network.{name}": value for name, value in run.state_dict().items()}
        extra = {"answer": ANSWERS, "text": WORDS}
        file = tmp_path / f"{labels}.ckpt"
        torch.save({"model": {**state, "_extra_state": extra}}, file)
        found = starting_weights(network, file, Run(ANSWERS[::-1], WORDS))
        assert "7: pre-training heads" in caplog.text
        assert ("the file was pre-trained without answers" in caplog.text) is (labels == 0)
        rows = found.get("classifier.output.weight")
        if labels:
            assert torch.equal(rows, run.classifier.output.weight.flip(0))
        else:
            assert not any(name.startswith("classifier.") for name in found)
        second = PretrainingNetwork.from_config(**TINY)
        again = starting_weights(second, file, RUN)
        assert {n for n in again if n.startswith("pretraining.")}
        caplog.clear()


def test_a_tower_of_another_size_is_refused(publish, tmp_path) -> None:
    """The published command of the second stage builds another tower, and goes on."""
    other = {"type": "clip_grid", "params": {"tower": {"layers": [1, 1, 1, 1], "width": 4}}}
    network = PretrainingNetwork.from_config(**{**TINY, "image_encoder": other, "num_labels": 0})
    with pytest.raises(CheckpointError, match="does not fit the network"):
        starting_weights(network, publish("pretrain"), RUN)


def test_an_answer_table_without_effect_is_remarked_on(network, publish, caplog) -> None:
    starting_weights(network, publish("clipvil_full"), Run(ANSWERS, WORDS, "all_ans.json"))
    assert "is not pre-trained: model_config.clipvil.pretrained_answers has no" in caplog.text


def test_a_run_with_a_head_of_another_type_gives_its_trunk(network, tmp_path, caplog) -> None:
    """A head that lacks a tensor is none of another type."""
    folder = left_by_mmf(network, tmp_path / "run", "best.ckpt")
    saved = torch.load(folder / "best.ckpt", weights_only=True)
    bias = saved["model"].pop("network.classifier.output.bias")
    torch.save(saved, folder / "best.ckpt")
    with pytest.raises(CheckpointError, match=r"1 missing.*\n +classifier\.output\.bias"):
        starting_weights(network, folder, RUN)
    saved["model"]["network.classifier.offsets"] = bias
    torch.save(saved, folder / "best.ckpt")
    weights = starting_weights(network, folder, RUN)
    assert weights.keys() == {n for n in network.state_dict() if not n.startswith("classifier.")}
    assert "the head keeps its initialisation: that of the file is of another type" in caplog.text


def test_longer_tables_of_positions_begin_with_the_files(publish, tmp_path, caplog) -> None:
    """A grid of 40 columns starts from the published 25; the others are saved with a tuned run."""
    caplog.set_level("INFO")
    wide = {**TINY, "visual_embedding": {"pos_num": 40}}
    network = ClipVilNetwork.from_config(**wide, tuning=SECTIONS["lora"])
    names = [f"visual_embedding.positions.{axis}.weight" for axis in ("rows", "columns")]
    before = {name: network.state_dict()[name].clone() for name in names}
    fresh = load_starting_weights(network, [publish("clipvil_full")], RUN)
    assert set(names) <= fresh
    published = golden_state("clipvil_full")
    for name, axis in zip(names, "xy", strict=True):
        key = f"lxrt_encoder.model.bert.encoder.visual_pos.{axis}_position_embedding.weight"
        now = network.state_dict()[name]
        assert now.shape == (40, 256)
        assert torch.equal(now[:25], published[key])
        assert torch.equal(now[25:], before[name][25:])
        assert f"{key} has 25 entries, the network 40: entries 25 to 39 keep" in caplog.text
    with pytest.raises(CheckpointError, match=r"of another shape"):  # nothing is cut
        short = ClipVilNetwork.from_config(**{**TINY, "visual_embedding": {"pos_num": 20}})
        starting_weights(short, publish("clipvil_full"), RUN)
    with pytest.raises(CheckpointError, match=r"of another shape"):  # a resume is exact
        plain = ClipVilNetwork.from_config(**wide)
        whole_weights(plain, golden_state("clipvil_full"), publish("clipvil_full"), RUN)


def test_positions_on_one_side_alone(publish, tmp_path, caplog) -> None:
    """A file without a position embedding is imported as one; a start says what it leaves."""
    caplog.set_level("INFO")
    plain = ClipVilNetwork.from_config(**{**TINY, "visual_embedding": {"pos_num": None}})
    weights = starting_weights(plain, publish("clipvil_full"), RUN)
    assert weights.keys() == plain.state_dict().keys()
    assert "2: the network has no position embedding" in caplog.text

    state = golden_state("clipvil_full")
    state = {key: value for key, value in state.items() if "visual_pos" not in key}
    torch.save(state, tmp_path / "BEST.pth")
    round_trip(tmp_path / "BEST.pth", config=HEADS)
    network = ClipVilNetwork.from_config(**TINY)
    weights = starting_weights(network, tmp_path / "BEST.pth", RUN)
    assert len(weights) == len(network.state_dict()) - 2
    assert "the file has no position embedding" in caplog.text
    imported = read_saved(tmp_path / "BEST").description.network
    assert imported["visual_embedding"] == {"pos_num": None}


def test_a_file_with_boxes_for_a_network_without(publish, caplog) -> None:
    caplog.set_level("INFO")
    round_trip(publish("lxmert"), config=HEADS)
    sections = read_saved(publish("lxmert").with_suffix("")).description.network
    sections["image_encoder"]["params"]["boxes"] = False
    network = ClipVilNetwork.from_config(**sections)
    weights = starting_weights(network, publish("lxmert"), RUN)
    assert weights.keys() == network.state_dict().keys()
    assert "4: the network has no boxes" in caplog.text


def test_classes_do_not_start_from_the_head_of_pre_training(publish, caplog) -> None:
    """As published: SNLI-VE and NLVR2 start without the answer head, though its table is there."""
    path = publish("pretrain")
    table = [{"ans": answer} for answer in ["true", "false", *ANSWERS[2:]]]
    (path.parent / "all_ans.json").write_text(json.dumps(table))
    for passes in (1, 2):
        network = ClipVilNetwork.from_config(**{**TINY, "num_labels": 2}, passes=passes)
        run = Run(["False", "True"], WORDS, labels_are_answers=False)
        weights = starting_weights(network, path, run)
        assert not any(name.startswith("classifier.") for name in weights)
        assert "the labels of this run are classes, not answers" in caplog.text


def test_a_head_of_other_widths_is_left(publish, caplog) -> None:
    network = ClipVilNetwork.from_config(**TINY, passes=2)
    weights = starting_weights(network, publish("clipvil_full"), RUN)
    assert not any(name.startswith("classifier.") for name in weights)
    assert "the head keeps its initialisation: that of the file has other widths" in caplog.text
