"""The command line and yaml files of MMF main."""

import os
import subprocess
import sys

import pytest
import torch
from omegaconf import OmegaConf

from mmf_bridge.common.resolvers import register_resolver
from tests.bridge.runs import ROOT, YAML, run_here

FAST = ("training.max_updates=2", "run_type=train")


def configuration(*opts):
    import argparse

    from mmf.utils.configuration import Configuration

    arguments = argparse.Namespace(config_override=None, opts=list(opts))
    return Configuration(arguments).get_config()


@pytest.fixture(autouse=True)
def fresh_registry():
    from mmf.common.registry import registry

    for key in ("__mmf_user_dir_imported__", "config", "configuration"):
        registry.unregister(key)


def test_a_yaml_alone_names_model_and_dataset():
    config = configuration(f"config={YAML}")
    assert (config.model, config.datasets) == ("tiny", "tiny")
    assert config.model_config.tiny.dropout == 0.3  # the model's own defaults
    assert config.dataset_config.tiny.ids == "int"


def test_the_command_line_names_the_dataset_before_the_yaml():
    config = configuration(f"config={YAML}", "dataset=tiny", "training.batch_size=3")
    assert (config.datasets, config.training.batch_size) == ("tiny", 3)


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("false", False), ("null", None), ("None", None), ("2", 2), ("word", "word")],
)
def test_values_of_options(text, value):
    config = configuration(f"config={YAML}", f"checkpoint.resume_file={text}")
    assert config.checkpoint.resume_file == value


def test_a_value_may_hold_an_equals_sign():
    config = configuration(f"config={YAML}", "checkpoint.resume_file=a=b=c")
    assert config.checkpoint.resume_file == "a=b=c"


def test_options_as_pairs():
    config = configuration("config", str(YAML), "training.batch_size", "3")
    assert config.training.batch_size == 3


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("training.batchsize=3", r"Unknown option training\.batchsize.*did you mean training\.b"),
        ("model_config.tiny.dropuot=0.1", r"did you mean model_config\.tiny\.dropout"),
        ("dataset_config.tiny.sizes={}", r"is a section"),
        ("training.batch_size", r"has no value"),
    ],
)
def test_a_bad_option_is_one_clear_error(option, message):
    with pytest.raises(ValueError, match=message):
        configuration(f"config={YAML}", option)


def test_a_misspelt_key_of_a_yaml(tmp_path):
    yaml = OmegaConf.load(YAML)
    yaml.training.batch_sizes = 3
    OmegaConf.save(yaml, tmp_path / "bad.yaml")
    with pytest.raises(ValueError, match=r"training\.batch_sizes.*did you mean"):
        configuration(f"config={tmp_path / 'bad.yaml'}")


def test_keys_that_the_bridge_adds_exist():
    config = configuration(f"config={YAML}")
    assert config.training.precision is None
    assert config.checkpoint.trust_pickle is None
    assert "learning_rate" not in config  # main would write its null into the optimizer


def test_a_missing_yaml_says_where_it_was_looked_for():
    with pytest.raises(FileNotFoundError, match=r"No configuration file nowhere\.yaml.*plugins"):
        configuration("config=nowhere.yaml")


def test_a_yaml_is_found_in_installed_plugins(monkeypatch, tmp_path):
    from importlib.metadata import EntryPoint

    from mmf_bridge.common import plugins

    entry = EntryPoint("tests", "tests", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])
    monkeypatch.chdir(tmp_path)
    assert configuration("config=tests/bridge/tiny_plugin/tiny.yaml").model == "tiny"


def test_a_yaml_is_found_in_a_dotted_user_dir(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = configuration("config=tiny.yaml", "env.user_dir=tests.bridge.tiny_plugin")
    assert config.model == "tiny"


def test_resolvers_of_plugins_survive():
    register_resolver("of_a_plugin", lambda: 7)
    configuration(f"config={YAML}")
    assert OmegaConf.create({"a": "${of_a_plugin:}"}).a == 7


def test_both_lines_spellings_of_an_environment_variable(monkeypatch):
    configuration(f"config={YAML}")
    monkeypatch.setenv("TINY", "here")
    config = OmegaConf.create({"a": "${env:TINY}", "b": "${oc.env:TINY}", "c": "${env:NOT,x}"})
    assert (config.a, config.b, config.c) == ("here", "here", "x")


@pytest.mark.parametrize("first", [[""], []], ids=["as python -m", "as mmf_run"])
@pytest.mark.parametrize("user_dir", ["./plugin", "plugin/", "plugin", "../here/plugin"])
def test_user_dir_as_a_path(tmp_path, monkeypatch, user_dir, first):
    folder = tmp_path / "here" / "plugin"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("loaded = True\n")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", [*first, *sys.path])
    from mmf.utils.env import import_user_module

    try:
        import_user_module(user_dir)
        assert sys.modules["mmf_user_dir"].loaded
    finally:
        for name in [name for name in sys.modules if name.endswith("plugin")]:
            if getattr(sys.modules[name], "loaded", False):
                del sys.modules[name]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "tinny"}, r"No model named 'tinny'.*did you mean 'tiny'"),
        ({"dataset": "tinny"}, r"No dataset named 'tinny'.*did you mean 'tiny'"),
        ({"training.trainer": "mff"}, r"No training.trainer named 'mff'.*did you mean 'mmf'"),
    ],
)
def test_a_name_that_nobody_registered(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        run_here(tmp_path, *FAST, changes=changes)


def test_the_other_lines_trainer_name(tmp_path):
    run = run_here(tmp_path, *FAST, "training.trainer=base_trainer")
    assert type(run.trainer).__name__ == "MMFTrainer"


def test_xla_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"training\.device is xla"):
        run_here(tmp_path, *FAST, "training.device=xla")


def test_names_lent_to_mmf_are_taken_back():
    import torchvision.io
    import transformers.optimization
    from mmf.datasets.builders.charades._utils import read_video
    from mmf.modules.optimizers import AdamW

    assert not hasattr(torchvision.io, "read_video")
    assert not hasattr(transformers.optimization, "AdamW")
    with pytest.raises(RuntimeError, match="removed from torchvision"):
        read_video("film.mp4")
    assert AdamW([torch.nn.Parameter(torch.ones(1))]).defaults["weight_decay"] == 0


def start(code):
    """Runs code in a fresh interpreter with the bridge on."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    code = f"import mmf_bridge.finder as f; f.install()\n{code}"
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300
    )


LATE = """
import sys

def register():
    from tests.bridge.tiny_plugin import dataset, model

if "mmf" in sys.modules:
    register()
"""


@pytest.mark.parametrize("imports", ["import late_plugin", ""])
def test_a_plugin_that_was_imported_before_mmf_registers_itself_late(tmp_path, imports):
    (tmp_path / "late_plugin").mkdir()
    (tmp_path / "late_plugin" / "__init__.py").write_text(LATE)
    done = start(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        f"{imports}\n"
        "assert 'mmf' not in sys.modules\n"
        "from argparse import Namespace\n"
        "from mmf.utils.configuration import Configuration\n"
        f"opts = ['config={YAML}', 'env.user_dir=late_plugin']\n"
        "config = Configuration(Namespace(config_override=None, opts=opts)).get_config()\n"
        "print('dropout', config.model_config.tiny.dropout)\n"
    )
    assert done.stdout.splitlines()[-1:] == ["dropout 0.3"], done.stderr


def test_a_start_imports_no_models_of_transformers_for_their_names():
    done = start(
        "import sys, mmf_cli.run\n"
        "from mmf.utils.env import setup_imports; setup_imports()\n"
        "print([m for m in sys.modules if m.startswith('transformers.models.w')])\n"
        "import transformers.modeling_bert, transformers.tokenization_auto as t\n"
        "print(t.AutoTokenizer.__name__)\n"
    )
    assert done.stdout.splitlines()[-2:] == ["[]", "AutoTokenizer"], done.stderr
    assert "In the sequence `MMF_" not in done.stderr
