"""Starting from what the hub has: CLIP models of open_clip and transformers, a BERT."""

import json

import pytest
import torch
from huggingface_hub import constants
from PIL import Image

import clipvil_mmf
from clipvil_mmf.config import ConfigError
from clipvil_mmf.vision import build_image_encoder, saved_section
from tests.bridge.runs import ROOT
from tests.e2e.conftest import impatience, package, run_mmf  # noqa: F401 (fixtures)
from tests.sharing.towers import bert_files, open_clip_files, transformers_clip_files

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def encoder(**params):
    return build_image_encoder({"type": "clip_grid", "params": params}).eval()


def patches_of(clip):
    """The patch tokens of open_clip's own tower, behind the last LayerNorm."""
    found = clip.visual.forward_intermediates(
        IMAGES, indices=1, normalize_intermediates=True, intermediates_only=True
    )
    return found["image_intermediates"][-1]


@pytest.mark.parametrize("quick_gelu", [False, True])
@pytest.mark.parametrize("spelling", ["hf-hub:them/clip", "hf://them/clip", "them/clip"])
def test_open_clip(hub, spelling, quick_gelu):
    clip, files = open_clip_files(quick_gelu)
    hub.add("them/clip", files)
    built = encoder(pretrained=spelling)
    with torch.no_grad():
        assert torch.equal(built(IMAGES), patches_of(clip))
    assert built.is_pretrained and built.stride == 16
    assert not [request for request in hub.requests if request.endswith(".bin")]


def test_a_resnet_of_open_clip(hub):
    _, files = open_clip_files(layers=[1, 1, 1, 1], width=16, head_width=8, image_size=64)
    hub.add("them/rn", files)
    built = encoder(pretrained="hf-hub:them/rn")
    assert built(IMAGES).shape == (2, 512, 1, 1)


@pytest.mark.parametrize("alone", [False, True])
def test_transformers(hub, alone):
    clip, files = transformers_clip_files(alone)
    hub.add("them/clip-vit", files)
    built = encoder(pretrained="them/clip-vit")
    tower = getattr(clip, "vision_model", clip)
    with torch.no_grad():
        output = tower(pixel_values=IMAGES)
        expected = tower.post_layernorm(output.last_hidden_state)
        found = built(IMAGES)
    torch.testing.assert_close(
        found.flatten(2).transpose(1, 2), expected[:, 1:], atol=1e-5, rtol=1e-5
    )


def test_it_is_written_without_the_repository(hub):
    """So that a model needs nothing but its own folder."""
    hub.add("them/clip", open_clip_files(quick_gelu=True)[1])
    section = {"type": "clip_grid", "params": {"pretrained": "them/clip", "frozen": True}}
    saved = saved_section(section)
    assert "them/clip" not in json.dumps(saved)
    original = build_image_encoder(section).eval()
    hub.repos.clear()
    again = build_image_encoder(saved).eval()
    assert not again.is_pretrained and again.config.frozen
    again.load_state_dict(original.state_dict())
    assert torch.equal(again(IMAGES), original(IMAGES))


def test_the_activation_that_a_tag_says():
    """OpenAI's ViTs compute QuickGELU, and open_clip's ViT-B-32 is that of others, with GELU."""
    for name, saved in (("ViT-B-32", "ViT-B-32-quickgelu"), ("RN50x4", "RN50x4")):
        section = {"type": "clip_grid", "params": {"name": name, "pretrained": "openai"}}
        assert saved_section(section)["params"] == {"name": saved, "pretrained": None}


@pytest.mark.parametrize(
    ("files", "params", "message"),
    [
        ({"README.md": b""}, {}, r"has none of open_clip_config\.json, config\.json: it is not a"),
        (
            {"config.json": b"{}", "pytorch_model.bin": b""},
            {},
            r"weights in other .* may carry code",
        ),
        ({"config.json": b"[]", "model.safetensors": b""}, {}, r"config\.json holds a list"),
        ({"config.json": b"{", "model.safetensors": b""}, {}, r"config\.json is not valid JSON"),
        (
            {"config.json": b'{"model_type": "siglip"}', "model.safetensors": b""},
            {},
            r"is a model of type 'siglip'; expected clip",
        ),
        (
            {"open_clip_config.json": b"{}", "open_clip_model.safetensors": b""},
            {},
            r"has no model_cfg\.vision_cfg",
        ),
        ({}, {"name": "RN50"}, r"name: got 'RN50', but pretrained, .* set name to null"),
        (
            {},
            {"pretrained": None, "name": "hf-hub:them/clip"},
            r"leave name out, and set pretrained",
        ),
        ({}, {"pretrained": "them/nothing"}, r"pretrained: .* has no repository them/nothing"),
        ({}, {"pretrained": "them/RN50.pt"}, r"'them/RN50\.pt' is neither a file nor a tag"),
    ],
)
def test_what_is_not_a_tower(hub, files, params, message):
    hub.add("them/clip", files)
    with pytest.raises(ConfigError, match=message):
        encoder(**{"pretrained": "hf-hub:them/clip", **params})


def test_other_statistics_are_named(hub, caplog):
    _, files = open_clip_files()
    config = json.loads(files["open_clip_config.json"])
    config["preprocess_cfg"] = {"mean": [0.5] * 3, "std": [0.5] * 3}
    hub.add("them/clip", {**files, "open_clip_config.json": json.dumps(config).encode()})
    encoder(pretrained="them/clip")
    assert "trained on images of mean [0.5, 0.5, 0.5]" in caplog.text


WORDS = (ROOT / "tests" / "fixtures" / "vocab.txt").read_text().split()
FUSION = "model_config.clipvil.fusion.params"
BERT = "google-bert/bert-base-uncased"
SIZES = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
SMALL = [f"{FUSION}.{key}={value}" for key, value in SIZES.items()]
PLACES = {"max_position_embeddings": 32}


def small_bert(hub):
    bert, files = bert_files(WORDS, num_hidden_layers=3, **SIZES, **PLACES)
    hub.add(BERT, files)
    return bert.bert


def check_start(network, tower, bert):
    """Whether a network has the weights of a tower and a BERT, but for an update of 1e-3."""
    assert torch.equal(network.image_encoder.tower.conv1.weight, tower)
    ours, theirs = network.fusion, bert
    for own, given in (
        (ours.embeddings.word.weight, theirs.embeddings.word_embeddings.weight),
        (
            ours.layers[1].attention.query.weight,
            theirs.encoder.layer[1].attention.self.query.weight,
        ),
    ):
        assert torch.allclose(own, given, atol=3e-3)
        assert not torch.allclose(own, given.roll(1, 0), atol=3e-3)


def test_vqa2_from_open_clip_and_bert(hub, run_mmf, tmp_path, monkeypatch):  # noqa: F811
    """The yaml as it is shipped, with smaller models under the names there."""
    monkeypatch.chdir(ROOT)
    clip, files = open_clip_files()
    hub.add("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", files)
    bert = small_bert(hub)
    options = (
        *("config=projects/clipvil/configs/vqa2_clip_vit.yaml", f"env.save_dir={tmp_path / 'run'}"),
        *("dataset_config.vqa2.data_dir=tests/fixtures/vqa2", "training.tensorboard=false"),
        *("dataset_config.vqa2.image_size=[32,64]", f"dataset_config.vqa2.store_dir={tmp_path}"),
        *SMALL,
        *(f"{FUSION}.num_hidden_layers=2", f"{FUSION}.max_position_embeddings=32"),
        *(
            "dataset_config.vqa2.processors.text_processor.params.vocab=google-bert/bert-base-uncased",
        ),
        *("training.max_epochs=null", "training.max_updates=1", "training.batch_size=16"),
        *("training.num_workers=0", "training.update_frequency=1"),
    )
    trainer = run_mmf(*options)
    check_start(trainer.model.network, clip.visual.conv1.weight, bert)

    # What it leaves names the repositories, and what is saved of that does not.
    photo = Image.effect_noise((96, 64), 90).convert("RGB")
    model = clipvil_mmf.from_pretrained(tmp_path / "run")
    expected = model.answer(photo, "Is it red?")
    model.save_pretrained(tmp_path / "alone")
    hub.repos.clear()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    found = clipvil_mmf.from_pretrained(tmp_path / "alone").answer(photo, "Is it red?")
    assert dict(found) == pytest.approx(dict(expected))


def test_easy_vqa_from_transformers_and_bert(hub, package, run_mmf, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(ROOT)
    clip, files = transformers_clip_files()
    repo = hub.add("openai/clip-vit-base-patch32", {"pytorch_model.bin": b"", "config.json": b"{}"})
    repo.commit(files, "refs/pr/66")
    bert = small_bert(hub)
    trainer = run_mmf(
        *("config=projects/clipvil/configs/easy_vqa_from_hub.yaml", "training.max_updates=1"),
        *("training.evaluation_interval=9", "training.tensorboard=false", *SMALL),
        *(f"{FUSION}.max_position_embeddings=32", "run_type=train"),
    )
    tower = clip.vision_model.embeddings.patch_embedding.weight
    check_start(trainer.model.network, tower, bert)
