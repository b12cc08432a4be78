"""Every command and snippet of README.md and docs/ is run, here or by a test named here."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from clipvil_mmf.checkpoints.published.convert import import_checkpoint
from clipvil_mmf.data import easy_vqa_files
from tests.bridge.runs import PATIENCE, ROOT, _servers
from tests.checkpoints.conftest import HEADS, publish  # noqa: F401 (a fixture)
from tests.docs.blocks import PAGES, blocks, commands, options
from tests.docs.checking import CONFIGS, check_all
from tests.sharing.hub_server import serving

PICTURE = ROOT / "tests" / "fixtures" / "own" / "images" / "first.jpg"
PLUGIN = ROOT / "tests" / "extending" / "myplugin"

EASY_VQA = "tests/e2e/test_easy_vqa.py::"
FILES = "tests/e2e/test_vqa_files.py::"
OTHER_VQA = "tests/e2e/test_other_vqa.py::"
TUNED = "tests/e2e/test_tuned_runs.py::"
ENTAILMENT = "tests/e2e/test_entailment.py::"
CLASSES = "tests/e2e/test_classes.py::"
PRETRAINING = "tests/e2e/test_pretraining.py::"
GRIDS = "tests/e2e/test_grid_features.py::"
MMFS_GRIDS = "tests/bridge/both/test_grid_features.py::"
HUB = "tests/sharing/test_towers.py::"
EXTENDING = "tests/extending/test_matrix.py::"
# What a command does, without its options -> the test that does it in small.
RUN_BY = {
    "mmf_run easy_vqa": EASY_VQA + "test_from_training_to_a_leaderboard_file",
    "mmf_predict easy_vqa": EASY_VQA + "test_from_training_to_a_leaderboard_file",
    "mmf_run vit": EASY_VQA + "test_a_vit_trains_by_options_alone",
    "mmf_run easy_vqa_transfer": "tests/e2e/test_transfer.py::test_a_method_tunes_the_backbone",
    "mmf_run vqa2": FILES + "test_vqa2_from_training_to_the_leaderboard_file",
    "mmf_predict vqa2": FILES + "test_vqa2_from_training_to_the_leaderboard_file",
    "mmf_run vqa2_tiny": FILES + "test_vqa2_tiny_needs_no_options",
    "mmf_predict vqa2_tiny": FILES + "test_vqa2_tiny_needs_no_options",
    "mmf_run vqa2_clip_vit": HUB + "test_vqa2_from_open_clip_and_bert",
    "mmf_run easy_vqa_from_hub": HUB + "test_easy_vqa_from_transformers_and_bert",
    "mmf_run vqa2_unipt": TUNED + "test_the_published_recipes_of_tuning",
    "mmf_run gqa": FILES + "test_gqa_from_training_to_the_leaderboard_file",
    "mmf_predict gqa": FILES + "test_gqa_from_training_to_the_leaderboard_file",
    "mmf_run aokvqa": OTHER_VQA + "test_aokvqa_in_both_settings",
    "mmf_predict aokvqa": OTHER_VQA + "test_aokvqa_in_both_settings",
    "mmf_run vizwiz": OTHER_VQA + "test_vizwiz_from_training_to_the_result_file",
    "mmf_run vizwiz_tiny": OTHER_VQA + "test_vizwiz_tiny_needs_no_options",
    "mmf_run stvqa": OTHER_VQA + "test_stvqa_is_a_dataset_of_ones_own",
    **{
        f"{program} {name}{tiny}": f"{CLASSES}test_{name}_from_training_to_the_score"
        for name in ("snli_ve", "nlvr2")
        for tiny in ("", "_tiny")
        for program in ("mmf_run", "mmf_predict")
    },
    "mmf_run custom": FILES + "test_a_dataset_of_ones_own",
    "mmf_run custom_small": FILES + "test_a_small_model_of_ones_own_data",
    "mmf_predict custom_small": FILES + "test_a_small_model_of_ones_own_data",
    "mmf_run entailment": ENTAILMENT + "test_the_page_from_training_to_the_score",
    "mmf_predict entailment": ENTAILMENT + "test_the_page_from_training_to_the_score",
    "mmf_run pretrain_stage1": PRETRAINING + "test_the_published_recipes",
    "mmf_run pretrain_stage2": PRETRAINING + "test_the_published_recipes",
    "mmf_run pretrain_stage1_tiny": PRETRAINING + "test_two_stages_then_the_export_then_vqa",
    "mmf_run pretrain_stage2_tiny": PRETRAINING + "test_two_stages_then_the_export_then_vqa",
    "mmf_run easy_vqa_pretrain": PRETRAINING + "test_captions_of_easy_vqa_then_a_few_questions",
    "mmf_run easy_vqa_few": PRETRAINING + "test_captions_of_easy_vqa_then_a_few_questions",
    "mmf_run pythia": "tests/bridge/both/test_example.py::test_pythia_learns_and_predicts",
    "mmf_predict pythia": "tests/bridge/both/test_example.py::test_pythia_learns_and_predicts",
    "mmf_run vqa2_unipt_grid": GRIDS + "test_tuning_on_features_is_tuning_beside_the_tower",
    "mmf_run pythia_grid": MMFS_GRIDS + "test_it_trains_and_predicts",
    "mmf_run pythia_grid_tiny": MMFS_GRIDS + "test_it_trains_and_predicts",
    "mmf_predict pythia_grid_tiny": MMFS_GRIDS + "test_it_trains_and_predicts",
    "mmf_run lxmert_vqa2": FILES + "test_lxmert_over_the_grid",
    "mmf_run lxmert_vqa2_regions": FILES + "test_lxmert_over_regions",
    "torchrun": "tests/bridge/both/test_interruption.py::test_torchrun_ends_all_processes",
    "mmf_run cosine": EXTENDING + "test_trains_20_updates",
    "mmf_predict cosine": EXTENDING + "test_predicts",
    "mmf_run prompt": EXTENDING + "test_trains_20_updates",
    "mmf_run labelled_folders": EXTENDING + "test_trains_20_updates",
    "mmf_run tsv": EXTENDING + "test_trains_20_updates",
    "clipvil answer": "tests/cli/test_answer.py::test_a_file_of_questions",
    "clipvil browse": "tests/browsing/test_command.py::test_with_predictions",
    "clipvil check-submission": FILES + "test_vqa2_from_training_to_the_leaderboard_file",
    "clipvil config": "tests/cli/test_config.py::test_what_is_printed_is_the_configuration",
    "clipvil demo": "tests/demo/test_page.py::test_the_command",
    "clipvil doctor": "tests/cli/test_doctor.py::test_exit_code_and_json",
    "clipvil export": "tests/cli/test_import_export.py::test_the_table_accounts_for_every_tensor",
    "clipvil features": "tests/cli/test_features.py::test_a_second_start_writes_what_is_lacking",
    "clipvil import": "tests/cli/test_import_export.py::test_the_table_accounts_for_every_tensor",
    "clipvil merge": EXTENDING + "test_merge",
    "clipvil prepare": FILES + "test_what_prepare_prints_runs",
    "clipvil profile": "tests/cli/test_profile.py::test_methods_side_by_side",
    "clipvil push": "tests/sharing/test_round_trip.py::test_the_answers_stay",
    "clipvil runs": "tests/runs/test_runs.py::test_one_table_of_runs",
    "clipvil score": "tests/prediction/test_score.py::test_vqa_v2_official_files",
    "clipvil serve": "tests/deploying/test_service.py::test_requests_at_once_are_one_pass",
    "clipvil show": "tests/cli/test_show.py::test_draws_predictions",
    "pip install": "tests/bridge/test_install.py::test_every_package_is_shipped",
    "pip uninstall": "tests/bridge/test_install.py::test_uninstalling_removes_all_of_it",
    "make": "tests/docs/test_docs.py::test_programs",
    "python": "tests/docs/test_docs.py::test_programs",
    "pytest": "tests/docs/test_docs.py::test_programs",
}
# Program -> why no test runs it.
NOT_RUN = {
    "git": "it needs the network",
    ".": "it is the shell's",
    "hf": "it is huggingface_hub's",
    "tensorboard": "it is a server",
}
# What is in an option -> the configuration that has its key; else that of vqa2.
CONFIGURED = {
    "widths": "myplugin/configs/conv_grid.yaml",
    "env.user_dir": "myplugin/configs/conv_grid.yaml",
    "dataset_config.easy_vqa": f"{CONFIGS}/easy_vqa.yaml",
    "tower.layers": f"{CONFIGS}/easy_vqa.yaml",
    "dataset_config.nlvr2": f"{CONFIGS}/nlvr2.yaml",
    "dataset_config.clipvil_custom": f"{CONFIGS}/custom_small.yaml",
    "tower.": f"{CONFIGS}/custom_small.yaml",
}
# What a page shows as an error.
WRONG = {"checkpoint.resume=fales"}
# They are refused.
UNAVAILABLE = {"training.device=xla", "training.trainer=lightning"}


def found(command):
    """The entry of `RUN_BY` for a command: by what it does, or by its program."""
    return RUN_BY.get(command.what) or RUN_BY.get(command.program)


@pytest.mark.parametrize("command", commands(), ids=str)
def test_a_test_runs_it(command):
    if command.program in NOT_RUN:
        return
    test = found(command)
    assert test, (
        f"{command}: no test runs {command.what!r}; name it in RUN_BY of this file, or write it"
    )
    file, function = test.split("::")
    assert f"def {function}(" in (ROOT / file).read_text(encoding="utf-8"), f"{test} is gone"


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(_anchor, headings), f"{page}: {target}"


@pytest.mark.parametrize("contents", ["README.md", "docs/index.md"])
def test_every_page_is_linked(contents):
    text = (ROOT / contents).read_text(encoding="utf-8")
    pages = {path.name for ending in ("*.md", "*.ipynb") for path in (ROOT / "docs").glob(ending)}
    missing = {page for page in pages if f"{page})" not in text}
    assert missing <= {Path(contents).name}, f"{contents} does not link {sorted(missing)}"


def test_every_extra_is_described():
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    extras = re.findall(r'"([\w-]+)": \[', setup.split("extras_require")[1].split("},")[0])
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert "demo" in extras
    assert set(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)) >= set(extras)


def _anchor(heading):
    """As GitHub names a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_plugin_of_the_docs_is_the_tests_own():
    """Byte for byte, and all of it."""
    shown = [block for block in blocks("python", "yaml") if "myplugin/" in (block.file or "")]
    for block in shown:
        assert block.text == (PLUGIN.parent / block.file).read_text(encoding="utf-8"), block.file
    files = {
        str(file.relative_to(PLUGIN.parent))
        for file in PLUGIN.rglob("*")
        if file.suffix in (".py", ".yaml")
    }
    assert {block.file for block in shown} == files


def _options_by_configuration():
    """The options that stand alone, each for a configuration that has their keys."""
    found = {}
    for _, words in options():
        if set(words) & (WRONG | UNAVAILABLE):
            continue
        text = " ".join(words)
        marks = [config for mark, config in CONFIGURED.items() if mark in text]
        found.setdefault((marks or [f"{CONFIGS}/vqa2.yaml"])[0], []).extend(words)
    return found


def _jobs():
    """Name -> what checking.py is to look at."""
    jobs = {}
    for command in commands():
        if command.program in ("mmf_run", "mmf_predict"):
            jobs[str(command)] = ("check_mmf", *command.words[1:])
        elif command.program == "torchrun":
            jobs[str(command)] = ("check_torchrun", *command.words[1:])
        elif command.program == "clipvil":
            jobs[str(command)] = ("check_clipvil", command.is_named, *command.words[1:])
    for config, words in _options_by_configuration().items():
        jobs[f"options for {config}"] = ("check_mmf", f"config={config}", *words)
    for block in blocks("yaml"):
        jobs[f"{block} yaml"] = ("check_yaml", block.file, block.text)
    return jobs


@pytest.fixture(scope="module")
def working(tmp_path_factory):
    """A folder as the pages think of it: the checkout's tests, the plugin, a vit.yaml, example/."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "tests").symlink_to(ROOT / "tests")
    shutil.copytree(PLUGIN, folder / "myplugin")
    (vit,) = [block for block in blocks("yaml") if "ViT-B-32\n" in block.text and block.line > 60]
    (folder / "vit.yaml").write_text(vit.text)
    runpy.run_path(str(ROOT / "bridge" / "example.py"))["write"](folder / "example")
    return folder


@pytest.fixture(scope="module")
def checked(working):
    output = working / f"checked-{time.time_ns()}"
    process = _servers.Process(target=check_all, args=(output, working, _jobs()))
    process.start()
    process.join(PATIENCE)
    process.kill()
    return json.loads(output.read_text())


@pytest.mark.parametrize("name", list(_jobs()))
def test_options_and_keys_are_known(name, checked):
    assert checked[name] is None, checked[name]


@pytest.mark.parametrize(
    "command",
    [c for c in commands() if c.program in ("make", "pytest", "python", "pip")],
    ids=str,
)
def test_programs(command):
    """What a command names is there: targets, tests, modules, scripts, extras, files."""
    program, *words = command.words
    if program == "make":
        dry = ["make", "--dry-run", *words]
        assert not subprocess.run(dry, cwd=ROOT, capture_output=True).returncode
    elif program == "pip":
        text = (ROOT / "setup.py").read_text(encoding="utf-8")
        for extras in re.findall(r"\.\[(.*)\]", " ".join(words)):
            assert all(f'"{extra}": [' in text for extra in extras.split(","))
        assert all((ROOT / word).is_file() for word in words if word.endswith(".lock"))
    elif words[0] == "-m" and "." in words[1]:
        assert find_spec(words[1])
    else:
        files = [word for word in words if "/" in word and "::" not in word]
        assert all((ROOT / file).exists() for file in files), files


IN_PYTHON = """
import json
import sys
import traceback

found = {}
for name, text in json.load(sys.stdin).items():
    try:
        exec(compile(text, name, "exec"), {"__name__": name})
        found[name] = None
    except Exception:
        found[name] = traceback.format_exc()
print(json.dumps(found))
"""
# Models that the pages have on the hub.
ON_HUB = ("me/vqa2",)
# Those of a folder without torch and of a server are run in tests/deploying.
SNIPPETS = [b for b in blocks("python") if b.file is None and b.page != "docs/deployment.md"]


def test_snippets_of_python(working, publish, tmp_path):  # noqa: F811
    """They run, with a small model and a picture where the page has others."""
    model, answers = tmp_path / "model", tmp_path / "answers.json"
    answers.write_text(json.dumps(easy_vqa_files.read_answers()))
    words = (ROOT / "tests" / "fixtures" / "vocab.txt").read_text().split()
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join([*words, *map(str, range(1000, 1200 - len(words)))]))
    import_checkpoint(
        publish("clipvil_full"), model, config=HEADS, answers=answers, vocabulary=vocabulary
    )
    for block in SNIPPETS:
        for name in re.findall(r'from_pretrained\("([\w/]+)"\)', block.text):
            if name not in ON_HUB:
                shutil.copytree(model, working / name, dirs_exist_ok=True)
        for name in re.findall(r'"([\w/]+\.jpg)"', block.text):
            if not (working / name).exists():
                shutil.copy(PICTURE, working / name)
    files = {file.name: file.read_bytes() for file in model.iterdir()}
    with serving() as hub:
        for name in ON_HUB:
            for branch in ("main", "v1"):
                hub.add(name, files, branch)
        done = subprocess.run(
            [sys.executable, "-c", IN_PYTHON],
            input=json.dumps({str(block): block.text for block in SNIPPETS}),
            cwd=working,
            env={**os.environ, **hub.environment(tmp_path / "hub")},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    wrong = {name: why for name, why in json.loads(done.stdout.splitlines()[-1]).items() if why}
    assert not wrong, "\n".join(wrong.values())


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_question_files(block, tmp_path):
    from clipvil_mmf.cli.questions import load_questions

    file = Path(tmp_path, "questions.json")
    file.write_text(block.text)
    assert load_questions(str(file), "test")
