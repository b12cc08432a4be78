"""The registered model: sizes from the dataset, vocabularies in the checkpoint, clear errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from mmf.common.registry import registry
from omegaconf import OmegaConf
from safetensors.torch import save_file

import clipvil_mmf
from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.config import ConfigError
from clipvil_mmf.tasks import build_task

TEXT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "what", "colour"]
ANSWERS = ["red", "green", "blue"]


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gives a function that builds a tiny `clipvil` over the vocabularies of a dataset `toy`."""
    clipvil_mmf.register()
    state: dict[str, Any] = {}
    monkeypatch.setitem(registry.mapping, "state", state)

    def make(
        text: list[str] | None = TEXT,
        answers: list[str] = ANSWERS,
        sections: dict[str, Any] | None = None,  # in the place of the usual ones
        run: dict[str, Any] | None = None,  # of MMF's configuration
        task: Any = None,
        **changes: Any,
    ) -> Any:
        config = {"datasets": "toy", "evaluation": {"predict": False}, **(run or {})}
        registry.register("config", OmegaConf.create(config))
        registry.register("toy_task", task)
        registry.register("writer", Mock())
        registry.register("toy_text_vocab", text)
        registry.register("toy_answer_vocab", answers)
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = {
            "model": "clipvil",
            "image_encoder": {
                "type": "clip_grid",
                "params": {"tower": {"layers": [1, 1, 1, 1], "width": 4}},
            },
            "fusion": {
                "type": "joint",
                "params": {**sizes, "intermediate_size": 32, "vocab_size": None},
            },
            "classifier": {"type": "mlp", "params": {}},
            "losses": [{"type": "logit_bce"}],
        }
        config = OmegaConf.merge({**config, **(sections or {})}, changes)
        model = registry.get_model_class("clipvil")(config)
        model.build()
        model.init_losses()
        return model

    return make


def batch() -> dict[str, torch.Tensor]:
    ids = torch.tensor([[2, 4, 3], [2, 5, 3], [2, 5, 3]])
    return {
        "images": torch.randn(2, 3, 64, 64),
        "image_index": torch.tensor([0, 1, 1]),
        "input_ids": ids,
        "input_mask": torch.ones_like(ids),
        "segment_ids": torch.zeros_like(ids),
    }


def test_sizes_come_from_the_dataset(build: Any) -> None:
    model = build()
    assert model.network.fusion.embeddings.word.num_embeddings == len(TEXT)
    scores = model.forward(batch())["scores"]
    assert scores.shape == (3, len(ANSWERS))
    assert scores.dtype == torch.float32


def test_scores_are_float32_under_autocast(build: Any) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert build().forward(batch())["scores"].dtype == torch.float32


def test_a_larger_embedding_table_may_be_asked_for(build: Any) -> None:
    model = build(fusion={"params": {"vocab_size": 100}})
    assert model.network.fusion.embeddings.word.num_embeddings == 100


def test_a_table_smaller_than_the_vocabulary_is_refused(build: Any) -> None:
    with pytest.raises(ConfigError, match=r"fusion\.params\.vocab_size: got 3.*6 tokens"):
        build(fusion={"params": {"vocab_size": 3}})


def test_unknown_key_is_named_with_its_neighbour(build: Any) -> None:
    with pytest.raises(ConfigError, match=r"model_config\.clipvil\.classifer.*'classifier'"):
        build(classifer={"type": "mlp"})


def test_a_dataset_without_vocabulary_is_refused(build: Any) -> None:
    with pytest.raises(ConfigError, match="none of toy gives the text vocabulary"):
        build(text=None)


CROSS_MODAL = {
    "type": "cross_modal",
    "params": {
        "hidden_size": 16,
        "language_layers": 1,
        "cross_layers": 1,
        "visual_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "vocab_size": None,
    },
}
REGIONS = {"type": "region_features", "params": {"feature_size": 6}}


def region_batch() -> dict[str, torch.Tensor]:
    found = {key: value for key, value in batch().items() if key != "images"}
    return {
        **found,
        "region_features": torch.randn(2, 5, 6),
        "region_boxes": torch.rand(2, 5, 4),
        "region_mask": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
    }


def test_lxmert_over_a_grid(build: Any) -> None:
    model = build(sections={"fusion": CROSS_MODAL})
    assert model.network.fusion.embeddings.word.num_embeddings == len(TEXT)
    assert model.forward(batch())["scores"].shape == (3, len(ANSWERS))


def test_work_is_that_of_one_question_and_its_image(build: Any) -> None:
    model = build()
    inputs = batch()
    kept = {name: value.clone() for name, value in model.network.state_dict().items()}
    count = model.multiply_adds(inputs)
    stem = model.network.image_encoder.tower.conv1.weight.numel() * 32 * 32
    assert stem < count < 100 * stem
    one = {name: value[:1] for name, value in inputs.items()}
    assert model.multiply_adds(one) == count
    assert model.multiply_adds({**inputs, "images": torch.randn(2, 3, 64, 128)}) > 1.5 * count
    assert model.training
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, kept[name])  # BatchNorm's statistics among them


def test_work_over_regions(build: Any) -> None:
    sections = {"fusion": CROSS_MODAL, "image_encoder": REGIONS}
    model = build(sections=sections)
    inputs = region_batch()
    count = model.multiply_adds(inputs)
    assert model.multiply_adds({name: value[:1] for name, value in inputs.items()}) == count > 0


@pytest.mark.parametrize("embedding", [None, {}])
def test_lxmert_over_regions(build: Any, embedding: dict[str, Any] | None) -> None:
    sections = {"fusion": CROSS_MODAL, "image_encoder": REGIONS, "visual_embedding": embedding}
    model = build(sections=sections).eval()
    inputs = region_batch()
    scores = model.forward(inputs)["scores"]
    assert scores.shape == (3, len(ANSWERS))
    inputs["region_features"][0, 3:] += 1  # padding
    torch.testing.assert_close(model.forward(inputs)["scores"], scores)


def test_what_the_dataset_does_not_give_is_named(build: Any) -> None:
    with pytest.raises(ConfigError, match=r"region_features needs region_features, region_boxes"):
        build(sections={"image_encoder": REGIONS}).forward(batch())
    with pytest.raises(ConfigError, match=r"clip_grid needs images, .*dataset_config.*features"):
        build().forward(region_batch())


def test_vocabularies_travel_in_the_checkpoint(build: Any, tmp_path: Any) -> None:
    path = tmp_path / "model.ckpt"
    model = build()
    torch.save(model.state_dict(), path)
    other = build()
    other.load_state_dict(torch.load(path))
    torch.testing.assert_close(
        other.network.classifier.output.weight, model.network.classifier.output.weight
    )


@pytest.mark.parametrize(
    ("changed", "kind", "entry"),
    [
        ({"answers": ["red", "blue", "green"]}, "answer", 1),
        ({"text": [*TEXT[:-1], "x"]}, "text", 5),
    ],
)
def test_a_checkpoint_of_another_vocabulary_is_refused(
    build: Any, changed: dict[str, Any], kind: str, entry: int
) -> None:
    state = build().state_dict()
    with pytest.raises(ValueError, match=f"another {kind} vocabulary.*entry {entry}"):
        build(**changed).load_state_dict(state)


def test_a_checkpoint_of_another_kind_of_task_is_refused(build: Any, tmp_path: Path) -> None:
    """The labels are the same; soft scores and classes have heads of the same shapes."""
    path = tmp_path / "current.ckpt"
    model = build()
    state = model.state_dict()

    def trained_with(task: Any) -> None:
        run = {"datasets": "toy", "dataset_config": {"toy": {"task": task}, "other": {}}}
        OmegaConf.save(OmegaConf.create(run), tmp_path / "config.yaml")

    for task in ("vqa", "gqa", None):
        trained_with(task)
        assert model.adapt_state_dict(state, str(path)).keys() == state.keys()
    trained_with({"type": "entailment", "params": {"labels": ANSWERS}})
    message = r"current\.ckpt .* task entailment \(dataset_config\.toy\.task of .* are classes; .*"
    message += r" vqa, are soft scores\. Set dataset_config.* to entailment, .*clipvil\.pretrained="
    with pytest.raises(CheckpointError, match=message):
        model.adapt_state_dict(state, str(path))


def test_a_safetensors_file_without_metadata_is_taken_as_it_is(build: Any, tmp_path: Path) -> None:
    model = build()
    state = {n: tensor for n, tensor in model.state_dict().items() if n != "_extra_state"}
    save_file(state, tmp_path / "a.safetensors")
    assert model.adapt_state_dict(state, str(tmp_path / "a.safetensors")).keys() == state.keys()


def test_half_of_a_configuration_is_remarked_on(
    build: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "config.yaml").write_text("a: [b")
    model = build()
    model.adapt_state_dict(model.state_dict(), str(tmp_path / "current.ckpt"))
    assert "current.ckpt is not checked" in caplog.text


@pytest.mark.parametrize("entry", ["cross_entropy", {"type": "cross_entropy"}])
def test_samples_without_a_class_are_not_for_mmfs_cross_entropy(build: Any, entry: Any) -> None:
    task = build_task("entailment")
    sample_list = {**batch(), "targets": torch.tensor([0, -1, 2]), "dataset_name": "toy"}
    message = r"clipvil\.losses: cross_entropy .* 1 of the 3 .* of toy .*Use clipvil_cross_entropy"
    with pytest.raises(ConfigError, match=message):
        build(losses=[entry], task=task)(sample_list)
    build(losses=None, task=task).forward(sample_list)


def test_a_whole_model_is_nothing_to_resume_for_a_tuned_one(build: Any) -> None:
    state = build().state_dict()
    tuned = build(tuning={"method": "unipt", "params": {}})
    with pytest.raises(CheckpointError, match=r"Start from it instead: .*pretrained=best\.ckpt"):
        tuned.adapt_state_dict(state, "best.ckpt")


def test_the_task_gives_the_loss_and_the_metric(build: Any) -> None:
    assert [loss.name for loss in build(losses=None).losses.losses] == ["logit_bce"]
    model = build(losses=None, task=build_task("entailment"))
    assert [loss.name for loss in model.losses.losses] == ["clipvil_cross_entropy"]
    assert list(registry.get("config").evaluation.metrics) == ["accuracy"]


@pytest.mark.parametrize(
    ("task", "loss", "choices"),
    [
        ("entailment", "logit_bce", "clipvil_cross_entropy, cross_entropy"),
        ("entailment", "clipvil_bce", "clipvil_cross_entropy, cross_entropy"),
        ("vqa", "cross_entropy", "logit_bce, clipvil_bce, clipvil_mce, bce"),
        ("gqa", "clipvil_cross_entropy", "logit_bce, clipvil_bce, clipvil_mce, bce"),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_loss_for_other_targets_is_refused(
    build: Any, task: str, loss: str, choices: str, inside: bool
) -> None:
    entry: dict[str, Any] = {"type": loss}
    if inside:
        entry = {"type": "multi", "params": [{**entry, "weight": 1}]}
    message = rf"model_config\.clipvil\.losses: {loss} is for .* task {task} .*Choices: {choices}"
    with pytest.raises(ConfigError, match=message):
        build(losses=[entry], task=build_task(task))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"losses": [{"type": "clipvil_bce", "parms": {"loss_scale": 500}}]},
            r"losses\[0\]\.parms: unknown key\. Did you mean 'params'",
        ),
        ({"losses": [{"params": {}}]}, r"losses\[0\]\.type: missing"),
        ({"pretrained_answers": "all_ans.json"}, r"pretrained_answers: .*pretrained names none"),
        ({"pretrained": 5}, r"clipvil\.pretrained: got 5, expected paths"),
        ({"pretrained": ""}, r"clipvil\.pretrained: got '', expected paths"),
        ({"pretrained": "[a.pth,b]"}, r"clipvil\.pretrained: .*\"KEY=\['a\.pth', 'b'\]\""),
        ({"zoo_requirements": ["clipvil.base"]}, r"clipvil\.zoo_requirements: .*expected \[\]"),
        (
            {"run": {"model_config": {"clipvill": {}}}},
            r"model_config\.clipvill: this run has no clipvill\. Did you mean 'clipvil'",
        ),
        (
            {"run": {"dataset_config": {"toys": {}, "toy": {}}}},
            r"dataset_config\.toys: this run has no toys\. Did you mean 'toy'",
        ),
        (
            {"run": {"evaluation": {"metrics": "vqa_score"}}, "task": build_task("entailment")},
            r"evaluation\.metrics: vqa_score is for .*Choices: accuracy\.",
        ),
    ],
)
def test_a_section_without_effect_is_an_error(
    build: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**changes)


def test_a_section_of_another_dataset_is_remarked_on(
    build: Any, caplog: pytest.LogCaptureFixture
) -> None:
    build(run={"dataset_config": {"toy": {}, "easy_vqa": {}}})
    assert "dataset_config.easy_vqa has no effect: this run has toy" in caplog.text


def test_the_datasets_of_a_run_have_one_task(build: Any) -> None:
    tasks = {"a": build_task("vqa"), "b": build_task("entailment")}
    for name, task in tasks.items():
        registry.register(f"{name}_task", task)
        registry.register(f"{name}_text_vocab", TEXT)
        registry.register(f"{name}_answer_vocab", ANSWERS)
    with pytest.raises(ConfigError, match=r"\(a: vqa, b: entailment\).*<dataset>\.task"):
        build(run={"datasets": "a,b"})
    registry.register("b_task", build_task("vqa"))
    build(run={"datasets": "a,b"})


@pytest.mark.parametrize(
    ("optimizer", "tower"),
    [
        ("AdamW", {"momentum": 0.9}),
        ("clipvil_adamw_sgd", {"momentum": 0.9}),
        ("clipvil_adamw_sgd", {"algorithm": "adamw", "momentum": 0.9}),
    ],
)
def test_momentum_without_sgd_is_an_error(
    build: Any, optimizer: str, tower: dict[str, Any]
) -> None:
    config = OmegaConf.create({"optimizer": {"type": optimizer, "groups": {"tower": tower}}})
    with pytest.raises(ConfigError, match=r"optimizer\.groups\.tower\.momentum: .* null"):
        build().get_optimizer_parameters(config)
