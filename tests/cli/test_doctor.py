import io
import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from clipvil_mmf.cli import doctor
from clipvil_mmf.cli.main import COMMANDS, app

VERSIONS = {"torch": "2.15.0", "omegaconf": "2.0.1", "pandas": "1.0"}


def version_of(name):
    if name not in VERSIONS:
        raise PackageNotFoundError(name)
    return VERSIONS[name]


def mmf_folder(tmp_path, version):
    (tmp_path / "version.py").write_text(f'__version__ = "{version}"\n')
    return str(tmp_path)


def by_name(findings):
    return {finding.name: finding for finding in findings}


@pytest.mark.parametrize(("version", "line"), [("1.0.0rc7", "rc7"), ("1.0.0rc12", "main")])
def test_supported_mmf(tmp_path, version, line):
    finding = doctor.check_mmf(mmf_folder(tmp_path, version))
    assert not finding.is_wrong
    assert finding.found == f"{version}, line {line}, in {tmp_path}"


@pytest.mark.parametrize("version", ["1.0.0rc10", None])
def test_absent_or_unsupported_mmf_names_the_command(tmp_path, version):
    folder = mmf_folder(tmp_path, version) if version else None
    finding = doctor.check_mmf(folder)
    assert finding.is_wrong
    assert "1.0.0rc7" in finding.problem
    assert finding.remedy == "pip install --no-deps mmf==1.0.0rc7"


def test_requirements_are_compared():
    requirements = [
        "torch>=2.6",
        "omegaconf>=2.3",
        "lmdb>=1.4",
        'pandas>=2.0; extra == "mmf-main"',
        'pytest>=8; extra == "test"',
    ]
    found = by_name(doctor.check_requirements(requirements, version_of))
    assert sorted(found) == ["lmdb", "omegaconf", "torch"]
    assert not found["torch"].is_wrong
    assert found["omegaconf"].problem == "needs >=2.3"
    assert found["omegaconf"].remedy == 'pip install "omegaconf>=2.3"'
    assert found["lmdb"].found == "not installed"
    on_main = by_name(doctor.check_requirements(requirements, version_of, on_main=True))
    assert on_main["pandas"].is_wrong
    assert "pytest" not in on_main


def test_bridge_on_off_and_absent(tmp_path, monkeypatch):
    monkeypatch.delenv("MMF_BRIDGE", raising=False)
    assert "no site-packages" in doctor.check_bridge([tmp_path]).problem
    (tmp_path / "mmf_bridge.pth").write_text("")
    finding = doctor.check_bridge([tmp_path / "other", tmp_path])
    assert finding.found == f"on, by {tmp_path / 'mmf_bridge.pth'}"
    assert not finding.is_wrong
    monkeypatch.setenv("MMF_BRIDGE", "0")
    finding = doctor.check_bridge([tmp_path])
    assert finding.is_wrong
    assert finding.remedy == "unset MMF_BRIDGE"


def test_failing_import_gives_the_last_line_of_the_error():
    finding = doctor.check_import([sys.executable, "-c", "raise ImportError('no transformers')"])
    assert finding.is_wrong
    assert finding.problem == "ImportError: no transformers"
    assert not doctor.check_import([sys.executable, "-c", "pass"]).is_wrong


def test_torch_and_torchvision_of_this_environment_fit():
    found = by_name(doctor.check_torch())
    assert found["torch + torchvision"].found == "fit each other", found
    assert found["CUDA"].found


def test_torch_and_torchvision_that_do_not_fit(monkeypatch):
    monkeypatch.setattr(doctor, "TRY_TORCH", "raise RuntimeError('operator nms does not exist')")
    (finding,) = doctor.check_torch()
    assert finding.is_wrong
    assert "operator nms does not exist" in finding.problem


def test_easy_vqa_is_optional_but_must_be_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    finding = doctor.check_easy_vqa()
    assert finding.remedy == "pip install easy-vqa"
    assert not finding.is_wrong
    monkeypatch.undo()
    (tmp_path / "easy_vqa").mkdir()
    (tmp_path / "easy_vqa/__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    finding = doctor.check_easy_vqa()
    assert finding.is_wrong
    assert "data/train/questions.json" in finding.problem


@pytest.mark.parametrize("wrong", [False, True])
def test_exit_code_and_json(monkeypatch, wrong):
    finding = doctor.Finding("bridge", "off", "no hook", "pip install .", optional=not wrong)
    monkeypatch.setattr(doctor, "check_bridge", lambda folders: finding)
    monkeypatch.setattr(doctor, "check_mmf", lambda folder: doctor.Finding("MMF", "1.0.0rc7"))
    monkeypatch.setattr(doctor, "check_requirements", lambda on_main: [])
    monkeypatch.setattr(doctor, "check_torch", lambda: [])
    result = CliRunner().invoke(app, ["doctor", "--quick", "--json"])
    report = json.loads(result.stdout)
    assert result.exit_code == int(wrong)
    assert report["ok"] is not wrong
    bridge = next(item for item in report["findings"] if item["name"] == "bridge")
    assert bridge["remedy"] == "pip install ."


def test_table_prints_problems_with_their_remedies():
    console = Console(width=100, record=True, file=io.StringIO())
    findings = [
        doctor.Finding("MMF", "1.0.0rc7"),
        doctor.Finding("torchvision", "0.1", "needs >=0.21", 'pip install "torchvision[x]>=0.21"'),
    ]
    doctor.show(findings, console)
    text = console.export_text()
    assert "✓  MMF" in text
    assert "✗  torchvision" in text
    assert 'pip install "torchvision[x]>=0.21"' in text


def test_help_lists_all_commands_without_loading_them():
    code = """
import sys
from clipvil_mmf.cli.main import app
try:
    app(["--help"])
except SystemExit:
    pass
print([name for name in ("torch", "clipvil_mmf.cli.doctor") if name in sys.modules])
"""
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert all(name in result.stdout for name in COMMANDS)
    assert result.stdout.strip().endswith("[]")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_shows_its_own_help(name):
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert f"Usage: clipvil {name}" in result.stdout


def test_a_command_that_cannot_be_imported_names_doctor(monkeypatch):
    """As where MMF is missing, or the bridge is switched off."""

    def fails(name):
        raise AttributeError("module 'transformers' has no attribute 'x'")

    monkeypatch.setattr("clipvil_mmf.cli.main.subcommand", fails)
    result = CliRunner().invoke(app, ["config", "--search", "x"])
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert "error: clipvil config cannot be imported (AttributeError" in result.output
    assert "clipvil doctor" in result.output
