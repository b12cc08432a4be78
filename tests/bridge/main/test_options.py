"""The command line and yaml files that MMF main alone has."""

import os
import subprocess
import sys

import pytest
import torch

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


def test_keys_that_the_bridge_adds_exist():
    config = configuration(f"config={YAML}")
    assert config.training.precision is None
    assert config.checkpoint.trust_pickle is None
    assert "learning_rate" not in config  # main would write its null into the optimizer


def test_a_yaml_is_found_in_a_dotted_user_dir(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = configuration("config=tiny.yaml", "env.user_dir=tests.bridge.tiny_plugin")
    assert config.model == "tiny"


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


@pytest.mark.parametrize(
    ("user_dir", "module"),
    [("{tmp_path}/other/../outer/kept", "kept"), ("outer/kept", "outer.kept")],
)
def test_a_user_dir_stays_as_it_is_written(tmp_path, monkeypatch, user_dir, module):
    from mmf.utils.configuration import get_mmf_env
    from mmf.utils.env import import_user_module

    for folder in ("other", "outer/kept"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    user_dir = user_dir.format(tmp_path=tmp_path)
    import_user_module(user_dir)
    assert get_mmf_env("user_dir") == user_dir
    assert sys.modules["mmf_user_dir"] is sys.modules[module]
