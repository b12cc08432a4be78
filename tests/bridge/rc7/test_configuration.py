"""Options, yaml files and plugins that rc7 alone has."""

import argparse
import sys

import pytest

from tests.bridge.runs import YAML

FAST = ("training.max_updates=1", "run_type=train", "training.evaluation_interval=100")


def configuration(*opts, override=None):
    from mmf.utils.configuration import Configuration

    arguments = argparse.Namespace(config_override=override, opts=list(opts))
    return Configuration(arguments).get_config()


def test_keys_of_main_exist_with_its_defaults():
    config = configuration(f"config={YAML}")
    training = config.training
    assert (training.precision, training.fp16, training.update_frequency) == (None, False, 1)
    assert (training.detect_anomaly, training.exit_on_nan_losses) == (False, True)
    assert (training.persistent_workers, config.checkpoint.max_to_keep) == (False, -1)


def test_learning_rate_is_a_shorthand():
    assert configuration(f"config={YAML}", "learning_rate=0.5").optimizer.params.lr == 0.5


def test_a_yaml_is_found_in_a_dotted_user_dir(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMF_USER_DIR", "tests.bridge.tiny_plugin")
    configuration(f"config={YAML}")  # MMF looks user_dir up in the configuration it had before
    assert configuration("config=tiny.yaml").model == "tiny"


@pytest.mark.parametrize("path", ["{}", "{}/", "./{}", "../here/{}"])
def test_user_dir_as_a_path(tmp_path, monkeypatch, path):
    name = f"plugin_in_{tmp_path.name}"
    folder = tmp_path / "here" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("loaded = True\n")
    monkeypatch.chdir(tmp_path / "here")
    from mmf.utils.env import import_user_module

    import_user_module(path.format(name))
    assert sys.modules.pop(name).loaded
