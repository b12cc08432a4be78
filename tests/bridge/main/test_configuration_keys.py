"""``clipvil config`` on MMF main."""

import pytest
import yaml
from typer.testing import CliRunner

from clipvil_mmf.cli.main import app
from clipvil_mmf.cli.profile import read_settings
from clipvil_mmf.paths import config_dir
from tests.bridge.both.test_configuration import fresh_registry  # noqa: F401 (a fixture)


def keys(file):
    from clipvil_mmf.describing.keys import keys_in_effect

    settings = read_settings(str(file), [])
    return {key.key: key for key in keys_in_effect(settings, [f"config={file}"])}


@pytest.mark.parametrize("name", ["vqa2", "nlvr2_two_passes", "pythia_grid", "mcan_grid"])
def test_every_key_has_a_description_and_a_place(name):
    found = keys(config_dir() / f"{name}.yaml").values()
    assert [key.key for key in found if not key.description] == []
    assert [key.key for key in found if not key.source] == []


def test_what_is_printed_is_the_configuration(tmp_path):
    file = config_dir() / "vqa2.yaml"
    done = CliRunner().invoke(app, ["config", str(file), "--docs"])
    assert done.exit_code == 0, done.output
    text = done.stdout
    assert text.startswith("training:\n")  # and no line of the log
    assert yaml.safe_load(text)["training"]["wandb"]["enabled"] is False
    (tmp_path / "whole.yaml").write_text(text)
    first, second = keys(file), keys(tmp_path / "whole.yaml")
    del first["config"], second["config"]
    assert {n: k.value for n, k in second.items()} == {n: k.value for n, k in first.items()}
