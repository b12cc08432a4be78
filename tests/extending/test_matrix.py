"""Each kind of component, from a plugin outside of the repository, through all that a run does."""

import pytest
import torch
from safetensors.torch import load_file

from tests.extending.conftest import (
    KINDS,
    SIZES,
    UPDATES,
    asked,
    clipvil,
    predictions,
    updates,
)
from tests.extending.lines import registry_line

each_kind = pytest.mark.parametrize("kind", list(KINDS))
profiled = pytest.mark.parametrize(
    "kind", [k for k in KINDS if KINDS[k].is_of_networks or k == "task"]
)
of_networks = pytest.mark.parametrize("kind", [k for k in KINDS if KINDS[k].is_of_networks])


@each_kind
def test_trains_20_updates(kind, ways):
    way = ways(kind)
    assert way.resumed.exit_codes == [0], way.resumed.output
    assert updates(way.folder) == UPDATES


@each_kind
def test_resumes_after_a_kill(kind, ways):
    way = ways(kind)
    assert way.killed.exit_codes == [-9], way.killed.output
    assert 5 <= way.at_the_kill < UPDATES
    assert f"Checkpoint loaded: update {way.at_the_kill}," in way.resumed.output


@each_kind
def test_starts_from_bert(kind, ways, outside):
    """What the network has of BERT is BERT's, before the first update."""
    way = ways(kind)
    bert = torch.load(outside / "bert.bin", weights_only=True)
    done, start = way.start_from("bert.bin")
    assert start, done.output
    for ours, theirs in way.kind.from_bert.items():
        assert torch.equal(start[ours], bert[theirs]), ours
    if way.kind.is_tuned:
        words = bert["bert.embeddings.word_embeddings.weight"]
        assert start["tuning.prompt"].shape == (4, SIZES["hidden_size"])
        assert all((words == row).all(1).any() for row in start["tuning.prompt"])


@each_kind
def test_starts_from_clip(kind, ways, outside):
    way = ways(kind)
    clip = torch.load(outside / "clip.pt", weights_only=True)
    done, start = way.start_from("clip.pt")
    for ours, theirs in way.kind.from_clip.items():
        assert torch.equal(start[ours], clip[theirs]), ours
    if not way.kind.from_clip:  # an encoder of one's own has nothing of CLIP's
        assert done.exit_codes == [1] and "clip.pt" in done.output
    else:
        assert start, done.output


@each_kind
def test_predicts(kind, ways):
    way = ways(kind)
    assert way.predicted.exit_codes == [0], way.predicted.output
    assert len(predictions(way)) == len(asked(way)[0])


@each_kind
def test_from_pretrained(kind, ways, answers_in_python):
    """Python answers as mmf_predict did, from the folder of the run, without MMF."""
    way = ways(kind)
    model = way.merged if way.kind.is_tuned else way.folder
    rows = predictions(way)
    assert answers_in_python(way, model) == [row["answer"] for row in rows]


@profiled
def test_profile(kind, ways):
    way = ways(kind)
    done = clipvil(
        way.outside,
        *("profile", "--config", f"myplugin/configs/{way.kind.config}.yaml"),
        *("--user-dir", "myplugin", "--repeats", "1", "--answers", "8", "--words", "116"),
        *("--image-size", "64x96"),
    )
    assert done.exit_codes == [0], done.output
    assert "GMACs" in done.output


@of_networks
def test_merge(kind, ways):
    way = ways(kind)
    if way.kind.is_tuned:
        names = load_file(way.merged / "model.safetensors").keys()
        assert {"tuning.prompt", "fusion.layers.1.attention.query.weight"} <= names
    else:
        done = clipvil(way.outside, *way.merge_command(way.outside / "whole"))
        assert "is whole as it is" in done.output


@of_networks
def test_export_says_that_there_is_no_published_counterpart(kind, ways, tmp_path):
    way = ways(kind)
    model = way.merged if way.kind.is_tuned else way.folder
    done = clipvil(
        way.outside, "export", model, "--output", tmp_path / "BEST.pth", "--user-dir", "myplugin"
    )
    assert done.exit_codes == [1]
    assert "has no counterpart in the published models" in done.output
    assert "Traceback" not in done.output


def test_all_of_them_in_one_run(ways, outside, tmp_path):
    """The components of one's own together, tuned beside what one of their own runs left."""
    way = ways("head")
    folder = tmp_path / "whole"
    own = (
        "model_config.clipvil.fusion.type=bag",
        "model_config.clipvil.classifier.type=cosine",
    )
    first = way.run_in(folder, "conv_grid", *own, "training.max_updates=2")
    assert first.exit_codes == [0], first.output
    prompt = "model_config.clipvil.tuning.method=prompt"
    start = f"model_config.clipvil.pretrained={folder}"
    tuned = way.run_in(tmp_path / "tuned", "conv_grid", *own, prompt, start)
    assert tuned.exit_codes == [0], tuned.output
    command = ("merge", tmp_path / "tuned", "--output", tmp_path / "merged", "--user-dir")
    merged = clipvil(outside, *command, "myplugin")
    assert merged.exit_codes == [0], merged.output
    before = torch.load(folder / "best.ckpt", weights_only=True)["model"]
    after = load_file(tmp_path / "merged" / "model.safetensors")
    for name in ("fusion.gate.weight", "image_encoder.blocks.0.weight"):
        assert torch.equal(before[f"network.{name}"], after[name]), name
    assert not torch.equal(before["network.classifier.bias"], after["classifier.bias"])


def test_an_unknown_component_says_that_its_package_has_to_be_imported(ways, outside, tmp_path):
    done = clipvil(outside, "merge", ways("tuning method").folder, "--output", tmp_path / "out")
    assert done.exit_codes == [1]
    assert "tuning.method: unknown value 'prompt'" in done.output
    assert "--user-dir PACKAGE" in done.output


@each_kind
def test_takes_a_file_and_a_line(kind):
    """No file of clipvil_mmf/ is touched: the lines of registries stand in the plugin."""
    assert registry_line(KINDS[kind])
