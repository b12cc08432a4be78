"""The option --user-dir: a package of one's own is imported before the command runs."""

import sys

import pytest
from typer.testing import CliRunner

from clipvil_mmf import user_dir
from clipvil_mmf.cli.main import app
from clipvil_mmf.user_dir import import_user_dir


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """What a test imports, it imports alone."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(user_dir, "IMPORTED", [])
    before = {*sys.modules}
    yield
    for name in {*sys.modules} - before:
        if name.startswith("own_"):
            del sys.modules[name]


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "own_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("from . import part\n")
    (folder / "part.py").write_text("loaded = True\n")
    return folder


def test_a_folder_or_a_module(package, monkeypatch):
    monkeypatch.chdir(package.parent)
    import_user_dir("own_package")
    assert sys.modules["own_package"].part.loaded
    import_user_dir("own_package.part")
    assert user_dir.IMPORTED == ["own_package", "own_package.part"]


def test_a_command_imports_it_first(package, tmp_path):
    arguments = ["merge", str(tmp_path), "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*arguments, "--user-dir", str(package)])
    assert result.exit_code == 1 and f"{tmp_path} holds no model" in result.output
    assert "own_package" in sys.modules


def test_none_is_imported_because_a_file_names_it(package, tmp_path):
    """Neither a run's configuration nor the folder that the command runs in."""
    (tmp_path / "config.yaml").write_text(f"env: {{user_dir: {package}}}\n")
    (tmp_path / "best.ckpt").touch()
    CliRunner().invoke(app, ["merge", str(tmp_path), "--output", str(tmp_path / "out")])
    assert "own_package" not in sys.modules


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_nothing", "No module named 'own_nothing'. Expected the folder of a Python package"),
        ("{}/json", "Python has another module json already"),
        ("{}/own_broken", "No module named 'own_missing'"),
    ],
)
def test_what_cannot_be_imported_is_one_line(tmp_path, name, message):
    (tmp_path / "json").mkdir()
    (tmp_path / "own_broken").mkdir()
    (tmp_path / "own_broken" / "__init__.py").write_text("import own_missing\n")
    given = name.format(tmp_path)
    arguments = ["export", str(tmp_path), "--output", str(tmp_path / "out"), "--user-dir", given]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert f"error: --user-dir {given}: " in result.output and message in result.output
