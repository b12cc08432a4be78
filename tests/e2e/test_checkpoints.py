"""Published and imported checkpoints in runs of MMF, and runs of MMF in Python without MMF."""

import json
import subprocess
import sys

import pytest
import torch
from omegaconf import OmegaConf

from clipvil_mmf.checkpoints.published.convert import import_checkpoint
from clipvil_mmf.checkpoints.tuned import backbone_hash
from clipvil_mmf.data import easy_vqa_files
from tests.checkpoints.conftest import (  # noqa: F401 (fixtures)
    BERT,
    HEADS,
    golden_state,
    publish,
)
from tests.e2e.conftest import CONFIG, SMALL

# The golden networks: 13 answers, as many as easy-VQA has, and 200 word pieces.
SIZES = (
    "model_config.clipvil.fusion.params.hidden_size=64",
    "model_config.clipvil.fusion.params.num_hidden_layers=3",
    "model_config.clipvil.fusion.params.intermediate_size=128",
    "model_config.clipvil.fusion.params.vocab_size=200",
)
LAYER, TOWER = "encoder.layer.2.", "encoder.visual_model.visual."


def weight(trainer, name):
    return dict(trainer.model.state_dict())[f"network.{name}"]


@pytest.fixture
def answers():
    return easy_vqa_files.read_answers()


def test_a_fine_tuned_file_is_resumed_and_predicts(tmp_path, publish, run):  # noqa: F811
    path = publish("clipvil_full").rename(tmp_path / "BEST.pth")
    trainer = run(*SIZES, f"checkpoint.resume_file={path}", load_only=True)
    expected = golden_state("clipvil_full")
    for name, key in {
        "classifier.output.weight": "logit_fc.3.weight",
        "fusion.layers.2.attention.query.weight": f"{BERT}{LAYER}attention.self.query.weight",
        "image_encoder.tower.bn1.running_mean": f"{BERT}{TOWER}bn1.running_mean",
    }.items():
        assert torch.equal(weight(trainer, name), expected[key])
    log = "".join(file.read_text() for file in (tmp_path / "save" / "logs").iterdir())
    assert "BEST.pth (finetuned): 181 tensors loaded, 31 not used" in log
    assert "17: CLIP's text tower" in log
    run(*SIZES, f"checkpoint.resume_file={path}", predict=True)
    (file,) = (tmp_path / "save").rglob("reports/*_*.json")
    assert len(json.loads(file.read_text())) == len(easy_vqa_files.read_questions("test"))


@pytest.mark.parametrize("what", ["folder", "file"])
def test_an_imported_checkpoint_is_resumed(tmp_path, publish, run, answers, what):  # noqa: F811
    """Its answers are known, so that its rows are put in the run's order."""
    file = tmp_path / "answers.json"
    file.write_text(json.dumps(answers[::-1]))
    import_checkpoint(publish("clipvil_full"), tmp_path / "model", config=HEADS, answers=file)
    path = tmp_path / "model" / ("model.safetensors" if what == "file" else "")
    trainer = run(*SIZES, f"checkpoint.resume_file={path}", load_only=True)
    rows = golden_state("clipvil_full")["logit_fc.3.weight"]
    assert torch.equal(weight(trainer, "classifier.output.weight"), rows.flip(0))


def test_a_pre_trained_file_is_the_start_of_a_training(tmp_path, publish, run, answers):  # noqa: F811
    path = publish("pretrain")
    rows = golden_state("pretrain")["answer_head.logit_fc.3.weight"]
    table = [{"ans": f"other {i}"} for i in range(len(rows))]
    table[2] = {"ans": answers[4]}
    (tmp_path / "all_ans.json").write_text(json.dumps(table))
    expected = torch.zeros(13, 128)
    expected[4] = rows[2]
    for option in ("checkpoint.resume_file", "model_config.clipvil.pretrained"):
        trainer = run(*SIZES, f"{option}={path}", load_only=True)
        assert torch.equal(weight(trainer, "classifier.output.weight"), expected)
    run(*SIZES, "run_type=train", f"model_config.clipvil.pretrained={path}")


def logged(tmp_path):
    return "".join(file.read_text() for file in (tmp_path / "save" / "logs").iterdir())


LEFT_OUT = "pretrained ({}) is left out: all weights come from the checkpoint {}"


def test_a_resume_does_without_the_starting_weights(tmp_path, publish, run):  # noqa: F811
    """The same command starts the run and goes on with it, when the files are gone too."""
    path = publish("clipvil_full")
    rows = golden_state("clipvil_full")["logit_fc.3.weight"]
    command = (*SIZES, "checkpoint.resume=true", f"model_config.clipvil.pretrained={path}")
    trainer = run(*command, "run_type=train", "training.max_updates=0")
    assert torch.equal(weight(trainer, "classifier.output.weight"), rows)  # nothing to resume yet
    assert "is left out" not in logged(tmp_path)
    trained = weight(run(*command, "run_type=train"), "classifier.output.weight")
    assert not torch.equal(trained, rows)

    path.unlink()
    resumed = run(*command, load_only=True)
    assert resumed.num_updates == 4
    assert torch.equal(weight(resumed, "classifier.output.weight"), trained)
    assert LEFT_OUT.format(path, tmp_path / "save" / "current.ckpt") in logged(tmp_path)
    run(*command, predict=True)
    assert list((tmp_path / "save").rglob("reports/*_*.json"))
    with pytest.raises(ValueError, match=rf"{path}: no such file"):
        # Without the resume they are needed.
        run(*command[:-2], command[-1], "run_type=val", load_only=True)


def test_a_whole_checkpoint_goes_before_starting_weights(
    tmp_path,
    publish,  # noqa: F811
    package,
    run_mmf,
):
    """One that gives parts alone does not, nor one that is not there."""
    yaml = tmp_path / "parts.yaml"
    parts = {"resume_pretrained": True, "pretrained_state_mapping": {"classifier": "classifier"}}
    content = {"includes": [str(CONFIG)], "checkpoint": parts}
    OmegaConf.save(OmegaConf.create(content), yaml)
    path, gone = publish("clipvil_full"), "model_config.clipvil.pretrained=gone.pth"
    common = (*SMALL[1:], *SIZES, gone)
    run_mmf(f"config={CONFIG}", *common, f"checkpoint.resume_file={path}", load_only=True)
    assert LEFT_OUT.format("gone.pth", path) in logged(tmp_path)
    with pytest.raises(ValueError, match=r"gone\.pth: no such file"):
        run_mmf(f"config={yaml}", *common, f"checkpoint.resume_file={path}")
    with pytest.raises(FileNotFoundError, match=r"resume_file nowhere\.pth does not exist"):
        run_mmf(f"config={CONFIG}", *common, "checkpoint.resume_file=nowhere.pth")


def test_without_the_answer_table_the_error_says_what_to_do(publish, run):  # noqa: F811
    with pytest.raises(ValueError, match=r"all_ans\.json.*clipvil\.pretrained_answers=PATH"):
        run(*SIZES, f"checkpoint.resume_file={publish('pretrain')}", load_only=True)


UNIPT = (
    "model_config.clipvil.tuning.method=unipt",
    "model_config.clipvil.tuning.params.reduction_factor=2",
)


def test_a_published_tuned_file_is_resumed_and_predicts(tmp_path, publish, run):  # noqa: F811
    path = publish("unipt")
    trainer = run(*SIZES, *UNIPT, f"checkpoint.resume_file={path}", load_only=True)
    expected = golden_state("unipt")[f"{BERT}encoder.side_gate_layer_l.weight"]
    network = trainer.model.network.state_dict()
    assert torch.equal(network["tuning.gate.weight"], expected)
    key = f"{BERT}{LAYER}attention.self.query.weight"
    assert torch.equal(
        network["fusion.layers.2.attention.query.weight"], golden_state("unipt")[key]
    )
    run(*SIZES, *UNIPT, f"checkpoint.resume_file={path}", predict=True)
    (file,) = (tmp_path / "save").rglob("reports/*_*.json")
    assert len(json.loads(file.read_text())) == len(easy_vqa_files.read_questions("test"))


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        ((), r"tuned with unipt \(reduction_factor 2\), but this run's network has no such method"),
        (("model_config.clipvil.tuning.method=lora",), r"is tuned with lora\."),
        ((UNIPT[0], f"{UNIPT[1][:-1]}4"), r"is tuned with unipt \(reduction_factor 4\)"),
    ],
)
def test_a_run_of_another_method_says_what_to_set(publish, run, opts, message):  # noqa: F811
    setting = r"Set model_config\.clipvil\.tuning to {method: unipt, params: {reduction_factor: 2}}"
    with pytest.raises(ValueError, match=f"{message}.*{setting}"):
        run(*SIZES, *opts, f"checkpoint.resume_file={publish('unipt')}", load_only=True)


def test_a_plain_file_starts_a_tuning_but_is_none(publish, run):  # noqa: F811
    path = publish("clipvil_full")
    trainer = run(*SIZES, *UNIPT, f"model_config.clipvil.pretrained={path}", load_only=True)
    key = f"{BERT}{LAYER}attention.self.query.weight"
    network = trainer.model.network.state_dict()
    assert torch.equal(
        network["fusion.layers.2.attention.query.weight"], golden_state("clipvil_full")[key]
    )
    with pytest.raises(ValueError, match=r"nothing of unipt.*clipvil\.pretrained=.*{method: full}"):
        run(*SIZES, *UNIPT, f"checkpoint.resume_file={path}", load_only=True)


def test_another_size_is_one_error_with_all_keys(publish, run):  # noqa: F811
    with pytest.raises(ValueError, match=r"has 200 word pieces.*another text vocabulary"):
        run(f"checkpoint.resume_file={publish('clipvil_full')}", load_only=True)
    changed = "model_config.clipvil.fusion.params.intermediate_size=64"
    with pytest.raises(ValueError, match=r"9 of another shape"):
        run(*SIZES, changed, f"checkpoint.resume_file={publish('clipvil_full')}", load_only=True)


def test_pickled_code_in_a_published_file_is_refused(tmp_path, run):
    path = tmp_path / "BEST.pth"
    torch.save({"logit_fc.0.weight": print}, path)
    with pytest.raises(ValueError, match=r"BEST\.pth is not a plain checkpoint.*print"):
        run(*SIZES, f"checkpoint.resume_file={path}", load_only=True)


IN_PYTHON = """
import json
import sys
import clipvil_mmf
model = clipvil_mmf.from_pretrained(sys.argv[1])
for question in sys.argv[3:]:
    print(json.dumps(model.answer(sys.argv[2], question, top_k=3)))
assert "mmf" not in sys.modules, "MMF was imported"
"""


def test_what_was_trained_answers_in_python_without_mmf(tmp_path, run):
    """The same answers as in the prediction file, and as sure of them."""
    run("run_type=train")
    further = ("prediction.confidence=true", "prediction.top_k=3")
    run("checkpoint.resume=true", *further, predict=True)
    (file,) = (tmp_path / "save").rglob("reports/*_*.json")
    rows = json.loads(file.read_text())[:4]
    questions = easy_vqa_files.read_questions("test")[:4]
    assert len({question.image for question in questions}) == 1
    command = [sys.executable, "-c", IN_PYTHON, tmp_path / "save", questions[0].image]
    done = subprocess.run(
        [*map(str, command), *(question.text for question in questions)],
        capture_output=True,
        text=True,
        check=True,
    )
    for line, row in zip(done.stdout.splitlines(), rows, strict=True):
        answers, confidences = zip(*json.loads(line), strict=True)
        assert [answer for answer, _ in row["top_answers"]] == list(answers)
        sure = [confidence for _, confidence in row["top_answers"]]
        assert sure == pytest.approx(confidences, abs=1e-5)
        assert (row["answer"], row["confidence"]) == (answers[0], sure[0])


def test_a_run_that_starts_from_a_published_tuned_checkpoint(
    publish,  # noqa: F811
    run,
    tmp_path,
) -> None:
    """Its own checkpoints know the backbone that came with it."""
    file = publish("unipt")
    start = (f"checkpoint.resume_file={file}", "checkpoint.reset.all=true")
    trainer = run(*SIZES, *UNIPT, "run_type=train", *start)
    saved = torch.load(tmp_path / "save" / "current.ckpt", weights_only=True)["model"]
    backbone = saved["_extra_state"]["backbone"]
    assert backbone == {"name": str(file), "sha256": backbone_hash(trainer.model.network)}
