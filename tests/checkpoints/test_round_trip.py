"""Import then export gives the same tensors under the same keys, for every published layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.checkpoints.native import read_saved
from clipvil_mmf.checkpoints.published.convert import export_checkpoint, import_checkpoint
from clipvil_mmf.network import ClipVilNetwork
from tests.checkpoints.conftest import BERT, HEADS, golden_state


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for key, value in a.items():
        assert value.dtype == b[key].dtype and torch.equal(value, b[key]), key


def round_trip(path: Path, **options: object) -> None:
    folder = path.with_suffix("")
    import_checkpoint(path, folder, **options)
    written = path.with_name("written.pth")
    export_checkpoint(folder, written)
    same(torch.load(path, weights_only=True), torch.load(written, weights_only=True))


# Golden file -> the section `tuning` that an import finds.
METHODS = {
    "clipvil_full": None,
    "unipt": {"method": "unipt", "params": {"reduction_factor": 2}},
    "sherl": {"method": "sherl", "params": {"reduction_factor": 2}},
    "lst": {"method": "ladder", "params": {"reduction_factor": 2}},
    "lora": {"method": "lora", "params": {"dim": 4, "alpha": 32, "dropout": 0.1}},
    "adapter": {
        "method": "adapter",
        "params": {"reduction_factor": 8, "gate": False, "visual": False},
    },
    "adapter_vis": {
        "method": "adapter",
        "params": {"reduction_factor": 8, "gate": True, "visual": True},
    },
    "lxmert": None,
    "pretrain": None,
}


@pytest.mark.parametrize("name", METHODS)
def test_golden_checkpoints(publish, name: str) -> None:
    path = publish(name)
    round_trip(path, config=HEADS)
    saved = read_saved(path.with_suffix(""))
    assert saved.description.network.get("tuning") == METHODS[name]
    assert saved.description.layout["ddp"]
    network = ClipVilNetwork.from_config(**saved.description.network)
    network.load_state_dict(saved.network)


def of_factored_adapters(*division: int, own_rule: bool) -> dict[str, torch.Tensor]:
    """A golden state dict of adapters, with factors in the place of their matrices."""
    state = golden_state("adapter")
    for key in [key for key in state if key.endswith("_sampler.weight")]:
        prefix, (rows, columns) = key.removesuffix("weight"), state.pop(key).shape
        n = division[0] if division else 1
        state[f"{prefix}W_left"] = torch.randn(*division, columns // n, 2)
        state[f"{prefix}W_right"] = torch.randn(*division, 2, rows // n)
        state[f"{prefix}b"] = state.pop(f"{prefix}bias")
        if own_rule:
            state[f"{prefix}phm_rule"] = torch.randn(n, n, n)
    return state


@pytest.mark.parametrize("method", ["compacter", "low_rank_adapter"])
def test_adapters_of_factors(tmp_path: Path, method: str) -> None:
    """By the names of the published folder's hypercomplex/layers.py and low_rank_layer.py."""
    is_compacter = method == "compacter"
    state = of_factored_adapters(*[4] * is_compacter, own_rule=is_compacter)
    torch.save(state, tmp_path / "BEST.pth")
    round_trip(tmp_path / "BEST.pth", config=HEADS)
    saved = read_saved(tmp_path / "BEST")
    tuning = saved.description.network["tuning"]
    params = {"division": 4, "shared_rule": False} if is_compacter else {}
    assert tuning == {"method": method, "params": {"reduction_factor": 8, "rank": 2, **params}}
    network = ClipVilNetwork.from_config(**saved.description.network)
    network.load_state_dict(saved.network)


def test_a_ladder_beside_some_layers_with_its_own_projection(tmp_path: Path) -> None:
    """--encoder_side_layers, --add_side_visual_projection of ylsung/Ladder-Side-Tuning."""
    left_out = ("side_block_l.1.", "side_downsamples_l.1.")  # its gate is there
    state = {
        key: value
        for key, value in golden_state("lst").items()
        if not any(part in key for part in left_out)
    }
    for key in [key for key in state if ".encoder.visn_fc." in key]:
        state[key.replace("encoder.visn_fc", "encoder.side_visn_fc")] = state[key] + 1
    torch.save(state, tmp_path / "BEST.pth")
    round_trip(tmp_path / "BEST.pth", config=HEADS)
    saved = read_saved(tmp_path / "BEST")
    depth = saved.description.network["fusion"]["params"]["num_hidden_layers"]
    assert saved.description.network["tuning"]["params"] == {
        "reduction_factor": 2,
        "layers": [0, *range(2, depth)],
        "visual_projection": True,
    }
    network = ClipVilNetwork.from_config(**saved.description.network)
    network.load_state_dict(saved.network)
    assert len([key for key in saved.unused if "side_gate_params_l.1" in key]) == 1


def of_tasks(name: str, *tasks: str) -> dict[str, torch.Tensor]:
    """A golden state dict with what its method added under the keys of these tasks."""
    state = {}
    for key, value in golden_state(name).items():
        for task in tasks if "s.vqa" in key else ("vqa",):
            state[key.replace("s.vqa", f"s.{task}")] = value
    return state


@pytest.mark.parametrize("tasks", [("gqa",), ("vqa", "gqa"), ("gqa", "nlvr")])
@pytest.mark.parametrize("name", ["lora", "adapter"])
def test_tasks(tmp_path: Path, name: str, tasks: tuple[str, ...]) -> None:
    """One task of any name, and several that share their tensors."""
    torch.save(of_tasks(name, *tasks), tmp_path / "BEST.pth")
    round_trip(tmp_path / "BEST.pth", config=HEADS)


def test_tasks_with_tensors_of_their_own(tmp_path: Path) -> None:
    state = of_tasks("adapter", "vqa", "gqa")
    key = next(key for key in state if "adapters.gqa" in key)
    state[key] = state[key] + 1
    torch.save(state, tmp_path / "BEST.pth")
    with pytest.raises(CheckpointError, match=r"several tasks.*adapters\.gqa.* is not .*\.vqa"):
        import_checkpoint(tmp_path / "BEST.pth", tmp_path / "model", config=HEADS)


def test_what_shapes_do_not_say_of_a_method_is_given(publish, tmp_path: Path) -> None:
    tuning = {"method": "lora", "params": {"alpha": 8}}
    given = OmegaConf.merge(HEADS, {"tuning": tuning})
    import_checkpoint(publish("lora"), tmp_path / "lora", config=given)
    described = read_saved(tmp_path / "lora").description.network["tuning"]
    assert described["params"] == {"dim": 4, "alpha": 8, "dropout": 0.1}
    with pytest.raises(
        CheckpointError, match=r"tuned with unipt, but the configuration says.*lora"
    ):
        import_checkpoint(publish("unipt"), tmp_path / "unipt", config=given)
    import_checkpoint(
        publish("clipvil_full"),
        tmp_path / "bitfit",
        config=OmegaConf.merge(HEADS, {"tuning": {"method": "bitfit"}}),
    )
    assert read_saved(tmp_path / "bitfit").description.network["tuning"]["method"] == "bitfit"


@pytest.mark.parametrize("ddp", [True, False])
def test_the_prefix_may_be_chosen(publish, tmp_path: Path, ddp: bool) -> None:
    import_checkpoint(publish("clipvil_full", ddp=not ddp), tmp_path / "model", config=HEADS)
    export_checkpoint(tmp_path / "model", tmp_path / "written.pth", ddp=ddp)
    keys = torch.load(tmp_path / "written.pth", weights_only=True)
    assert all(key.startswith("module.") is ddp for key in keys)


def test_files_of_torch_before_1_6(publish) -> None:
    round_trip(publish("clipvil_full", _use_new_zipfile_serialization=False), config=HEADS)


def test_without_the_unused_tensors_the_rest_is_exported(publish, tmp_path: Path) -> None:
    import_checkpoint(publish("clipvil_full"), tmp_path / "model", config=HEADS)
    (tmp_path / "model" / "unused.safetensors").unlink()
    report = export_checkpoint(tmp_path / "model", tmp_path / "written.pth")
    assert report.unused == 0
    assert len(torch.load(tmp_path / "written.pth", weights_only=True)) == report.network == 181


def clip_state(bare: bool = False) -> dict[str, torch.Tensor]:
    prefix = f"{BERT}encoder.visual_model." + ("visual." if bare else "")
    state = golden_state("clipvil_full")
    return {k[len(prefix) :]: v.half() for k, v in state.items() if k.startswith(prefix)}


@pytest.mark.parametrize("bare", [True, False])
def test_clip_and_its_tower_alone(tmp_path: Path, bare: bool) -> None:
    torch.save(clip_state(bare), tmp_path / "clip.pt")
    round_trip(tmp_path / "clip.pt")
    saved = read_saved(tmp_path / "clip")
    assert saved.description.network == {
        "image_encoder": {
            "type": "clip_grid",
            "params": {"tower": {"layers": [1, 1, 1, 1], "width": 8}},
        }
    }


def bert_state(old: bool = False, bare: bool = False) -> dict[str, torch.Tensor]:
    parts = tuple(f"{BERT}{part}" for part in ("embeddings.", "encoder.layer.", "pooler."))
    prefix = BERT if bare else "lxrt_encoder.model."
    state = {
        key[len(prefix) :]: value
        for key, value in golden_state("clipvil_full").items()
        if key.startswith(parts)
    }
    if not bare:
        state["cls.predictions.transform.LayerNorm.weight"] = torch.ones(64)
        state["cls.predictions.decoder.weight"] = state["bert.embeddings.word_embeddings.weight"]
    if old:
        norms = {".LayerNorm.weight": ".LayerNorm.gamma", ".LayerNorm.bias": ".LayerNorm.beta"}
        for new, before in norms.items():
            state = {key.replace(new, before): value for key, value in state.items()}
    return state


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("bare", [True, False])
def test_bert(tmp_path: Path, old: bool, bare: bool) -> None:
    torch.save(bert_state(old, bare), tmp_path / "bert.bin")
    round_trip(tmp_path / "bert.bin", config=HEADS)
    saved = read_saved(tmp_path / "bert")
    assert saved.description.layout["kind"] == "bert"
    assert saved.description.network["fusion"]["params"]["num_hidden_layers"] == 3
    word = saved.network["fusion.embeddings.word.weight"]
    assert torch.equal(
        word, golden_state("clipvil_full")[f"{BERT}embeddings.word_embeddings.weight"]
    )


@pytest.mark.slow
def test_full_size(tmp_path: Path) -> None:
    """Shapes of RN50x4 and BERT-base, one number a tensor: the sizes are told by the shapes."""
    import open_clip

    with torch.device("meta"):
        network = ClipVilNetwork.from_config(
            image_encoder={"type": "clip_grid"},
            fusion={"type": "joint"},
            classifier={"type": "mlp"},
            num_labels=3129,
        )
        clip = open_clip.create_model("RN50x4", device="meta")
    from tests.golden.published import to_published

    shapes = to_published(network)
    prefix = f"{BERT}encoder.visual_model."
    shapes.update({prefix + key: value for key, value in clip.state_dict().items()})
    for key, size in {"box_fc.weight": (768, 4), "box_fc.bias": (768,)}.items():
        shapes[f"{BERT}encoder.visn_fc.{key}"] = torch.empty(size, device="meta")
    for key in ("weight", "bias"):
        shapes[f"{BERT}encoder.visn_fc.box_layer_norm.{key}"] = torch.empty(768, device="meta")
    state = {
        f"module.{key}": torch.full(meta.shape, number % 251, dtype=torch.uint8)
        for number, (key, meta) in enumerate(shapes.items())
    }
    torch.save(state, tmp_path / "BEST.pth")
    round_trip(tmp_path / "BEST.pth")
    described = OmegaConf.load(tmp_path / "BEST" / "config.yaml").network
    assert described.image_encoder.params.name == "RN50x4"
    assert described.fusion.params == {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "vocab_size": 30522,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
    }
    assert described.num_labels == 3129
    assert described.visual_embedding == {"pos_num": 25}
