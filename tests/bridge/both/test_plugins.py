"""``env.user_dir``, and a Configuration that somebody makes without ``mmf_run``."""

import argparse
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from mmf_bridge.common import plugins
from mmf_bridge.line import detect
from tests.bridge.runs import ROOT

ALONE = """
import argparse
import mmf_bridge.finder
mmf_bridge.finder.install()
from mmf.utils.configuration import Configuration
opts = ["model=pythia", "dataset=vqa2"]
config = Configuration(argparse.Namespace(config_override=None, opts=opts)).get_config()
print("pythia" in config.model_config, config.datasets)

from mmf.common.registry import registry
kinds = {kind for kind in registry.mapping if kind.endswith("_mapping")}
before = {kind: dict(registry.mapping[kind]) for kind in kinds}
import clipvil_mmf.plugin
for kind in kinds:
    for name, thing in before[kind].items():
        if registry.mapping[kind][name] is not thing:
            print("replaced", kind, name)
"""


def configuration(user_dir):
    from mmf.utils.configuration import Configuration

    opts = ["model=pythia", "dataset=vqa2", f"env.user_dir={user_dir}"]
    Configuration(argparse.Namespace(config_override=None, opts=opts))


@pytest.fixture(autouse=True)
def another_user_dir(monkeypatch):
    from mmf.common.registry import registry

    monkeypatch.delitem(registry.mapping["state"], "__mmf_user_dir_imported__", raising=False)


@pytest.mark.parametrize(
    ("user_dir", "hint"),
    [
        ("clipvil_mf", r" Did you mean clipvil_mmf\?$"),
        ("{tmp_path}/nowhere", r"installed one\.$"),
        ("some.package", r"installed one\.$"),
        ("tests.nowhere.deeper", r"installed one\.$"),
    ],
)
def test_a_user_dir_that_is_not_there(user_dir, hint, tmp_path):
    user_dir = user_dir.format(tmp_path=tmp_path)
    with pytest.raises(ValueError, match=rf"^env\.user_dir: got {user_dir}, .*{hint}"):
        configuration(user_dir)


@pytest.mark.parametrize(
    ("user_dir", "message"),
    [
        ("3", "got 3, expected a folder"),
        ("[clipvil_mmf]", r"got \['clipvil_mmf'\], expected a folder"),
        ("{tmp_path}", "has no __init__.py"),
        ("{tmp_path}/plugin.yaml", "neither a folder"),
    ],
)
def test_a_user_dir_that_is_not_a_package(user_dir, message, tmp_path):
    with pytest.raises(ValueError, match=rf"^env\.user_dir: .*{message}"):
        configuration(user_dir.format(tmp_path=tmp_path))


def test_what_a_plugin_fails_to_import_stays_its_own_error(tmp_path):
    folder = tmp_path / "plugin_with_a_fault"
    folder.mkdir()
    (folder / "__init__.py").write_text("import module_that_nobody_has\n")
    with pytest.raises(ModuleNotFoundError, match="module_that_nobody_has"):
        configuration(folder)


@pytest.fixture(scope="module")
def alone():
    """The lines of a process that has imported nothing of MMF before."""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ALONE], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_a_configuration_is_made_before_anything_else_of_mmf_is_imported(alone):
    assert "True vqa2" in alone


def test_our_plugin_replaces_no_name_of_mmf_but_those_of_datasets(alone):
    replaced = {line for line in alone if line.startswith("replaced")}
    shared = {"nlvr2", "textvqa", "visual_genome", "vizwiz", "vqa2"}
    if detect() == "main":
        shared |= {"gqa", "okvqa"}
    assert replaced == {f"replaced builder_name_mapping {name}" for name in shared}


@pytest.fixture(params=["checkout", "wheel"])
def layout(request, tmp_path, monkeypatch):
    """Where the plugin's yaml files lie: beside the package, as in a checkout, or inside it."""
    if request.param == "wheel":
        package = tmp_path / "site" / "plugin_of_a_wheel"
        shutil.copytree(ROOT / "projects", package / "projects")
        (package / "__init__.py").write_text("")
        monkeypatch.syspath_prepend(package.parent)
        shipped = [EntryPoint("clipvil", package.name, plugins.GROUP)]
        monkeypatch.setattr(plugins, "entry_points", lambda group: shipped)
        return package / "projects"
    return ROOT / "projects"


@pytest.mark.parametrize("folder", ["home", "projects/mine"])
def test_a_yaml_anywhere_includes_files_of_a_plugin(layout, folder, tmp_path, monkeypatch):
    """Run from another directory; the included file has includes of its own."""
    from mmf.utils.configuration import load_yaml

    from mmf_bridge.common.yaml_layers import yaml_files

    own = tmp_path / folder / "own.yaml"
    own.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    own.write_text("includes:\n- projects/clipvil/configs/vqa2.yaml\ntraining:\n  batch_size: 7\n")
    found = load_yaml(str(own))
    assert (found.training.batch_size, found.dataset) == (7, "vqa2")
    assert found.optimizer.type == "clipvil_adamw_sgd"  # of recipes/published.yaml
    configs = layout / "clipvil" / "configs"
    names = ("run.yaml", "recipes/published.yaml", "vqa2.yaml")
    assert yaml_files(str(own)) == [*(str(configs / name) for name in names), str(own)]
