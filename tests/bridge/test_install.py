"""The hook as pip installs it: from a wheel and as an editable install."""

import ast
import os
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    "LICENSE",
    "MANIFEST.in",
    "README.md",
    "bridge",
    "clipvil_mmf",
    "mmf_bridge",
    "mmf_bridge.pth",
    "projects",
    "pyproject.toml",
    "requirements.lock",
    "setup.py",
)
CONFIGS = "from clipvil_mmf.paths import config_dir; print(config_dir())"
LOADED = """
import sys
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("mmf_bridge", "torch")))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the sources, so that building leaves nothing in the real ones."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored, symlinks=True)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """A folder with pip and setuptools of this environment, and nothing else of it."""
    folder = tmp_path_factory.mktemp("tools")
    outer = Path(sysconfig.get_path("purelib"))
    for name in ("_distutils_hack", "packaging", "pip", "pkg_resources", "setuptools", "wheel"):
        for path in (*outer.glob(name), *outer.glob(f"{name}-*.dist-info")):
            (folder / path.name).symlink_to(path)
    return folder


class Environment:
    """A throw-away environment with a stand-in for MMF."""

    def __init__(self, folder, tools):
        self.tools = tools
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = str(folder / "bin/python")
        self.site = next(folder.glob("lib/python*/site-packages"))
        for name, text in (("__init__", ""), ("version", '__version__ = "1.0.0rc7"\n')):
            path = self.site / "mmf" / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        self.outside = folder

    def run(self, *arguments, **environment):
        dropped = ("MMF_BRIDGE", "PYTHONPATH", "PYTHONSAFEPATH")
        env = {key: value for key, value in os.environ.items() if key not in dropped}
        env.update(environment)
        result = subprocess.run(
            [self.python, *arguments], env=env, cwd=self.outside, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result

    def pip(self, *arguments):
        flags = ("-m", "pip", "--disable-pip-version-check")
        return self.run(*flags, *arguments, PYTHONPATH=str(self.tools))

    def install(self, *arguments):
        self.pip("install", "--no-deps", "--no-build-isolation", "--no-index", *arguments)

    def output(self, code, **environment):
        return self.run("-c", code, **environment).stdout.strip()


def install(kind, source, tools, folder):
    environment = Environment(folder, tools)
    environment.install(*(["--editable"] if kind == "editable" else []), str(source))
    environment.kind = kind
    return environment


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(request, checkout, tools, tmp_path_factory):
    return install(request.param, checkout, tools, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module", params=["wheel", "editable"])
def bridge(request, checkout, tools, tmp_path_factory):
    """An environment with the bridge alone."""
    folder = tmp_path_factory.mktemp(f"bridge-{request.param}")
    return install(request.param, checkout / "bridge", tools, folder)


def test_hook_lands_in_site_packages(installed):
    assert (installed.site / "mmf_bridge.pth").read_text() == (ROOT / "mmf_bridge.pth").read_text()


def test_plain_python_patches_mmf(installed):
    assert installed.output("import mmf; print(type(mmf.__loader__).__name__)") == "MendingLoader"


def test_a_program_without_mmf_loads_the_finder_alone(installed):
    assert installed.output(LOADED) == "['mmf_bridge', 'mmf_bridge.finder']"


def test_switch_turns_it_off(installed):
    code = "import mmf; print(type(mmf.__loader__).__name__)"
    assert installed.output(code, MMF_BRIDGE="0") == "SourceFileLoader"


def test_configs_are_found(installed, checkout):
    found = Path(installed.output(CONFIGS))
    source = checkout / "projects/clipvil/configs"
    if installed.kind == "editable":
        assert found == source
    else:
        assert found == installed.site / "clipvil_mmf/projects/clipvil/configs"
    names = {path.relative_to(source) for path in source.rglob("*.*")}
    assert names
    assert {path.relative_to(found) for path in found.rglob("*.*")} == names


def test_every_package_is_shipped(installed):
    code = "import importlib.util as u; print(u.find_spec('mmf_bridge.common.models').origin)"
    assert installed.output(code).endswith("mmf_bridge/common/models.py")
    shipped = {
        path.relative_to(ROOT).parent
        for top in ("clipvil_mmf", "mmf_bridge")
        for path in (ROOT / top).rglob("*.py")
    }
    assert all((ROOT / folder / "__init__.py").is_file() for folder in shipped)


def test_console_script_is_installed(installed):
    assert (Path(installed.python).parent / "clipvil").is_file()


def test_a_damaged_installation_warns_in_one_line_and_python_starts(installed, tmp_path):
    (tmp_path / "mmf_bridge").mkdir()
    (tmp_path / "mmf_bridge/__init__.py").write_text("raise RuntimeError('damaged')\n")
    result = installed.run("-c", "print('runs')", PYTHONPATH=str(tmp_path))
    assert result.stdout.strip() == "runs"
    assert result.stderr.strip().splitlines() == [
        "mmf_bridge is off: RuntimeError('damaged') (install its package again, or uninstall it)"
    ]


def test_uninstalling_removes_all_of_it(checkout, tools, tmp_path_factory):
    for arguments in ((str(checkout),), ("--editable", str(checkout))):
        environment = Environment(tmp_path_factory.mktemp("removed"), tools)
        before = sorted(environment.site.iterdir())
        environment.install(*arguments)
        assert (environment.site / "mmf_bridge.pth").is_file()
        environment.pip("uninstall", "--yes", "clipvil-mmf")
        left = [path for path in environment.site.iterdir() if path.name != "__pycache__"]
        assert sorted(left) == before
        code = "import mmf, sys; print(any(name.startswith('mmf_bridge') for name in sys.modules))"
        assert environment.output(code) == "False"


def test_the_bridge_alone_patches_mmf_and_brings_nothing_of_the_plugin(bridge):
    code = "import mmf, importlib.util as u; print(type(mmf.__loader__).__name__, %s)"
    found = bridge.output(code % "u.find_spec('mmf_bridge.rc7') is not None")
    assert found == "MendingLoader True"
    assert bridge.output(code % "u.find_spec('clipvil_mmf')").endswith("None")
    assert bridge.output("from importlib.metadata import entry_points as e; print(len(e()))") == "0"
    status = bridge.output("import runpy; runpy.run_module('mmf_bridge', run_name='__main__')")
    assert status.splitlines()[1].startswith("bridge: on")


def test_uninstalling_the_bridge_leaves_nothing(bridge):
    bridge.pip("uninstall", "--yes", "mmf-bridge")
    left = {path.name for path in bridge.site.iterdir()} - {"__pycache__"}
    assert left == {"mmf"}


def test_the_bridge_asks_for_nothing_that_the_plugin_does_not():
    def required(setup):
        call = next(
            node
            for node in ast.walk(ast.parse(setup.read_text()))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup"
        )
        values = {keyword.arg: keyword.value for keyword in call.keywords}
        extras = ast.literal_eval(values["extras_require"])
        return set(ast.literal_eval(values["install_requires"])), extras

    alone, extras = required(ROOT / "bridge" / "setup.py")
    both, all_extras = required(ROOT / "setup.py")
    assert alone < both
    assert {"open_clip_torch", "typer", "tokenizers"}.isdisjoint(r.split(">")[0] for r in alone)
    assert all(all_extras[name] == extra for name, extra in extras.items())
