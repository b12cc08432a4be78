"""The import hook, on a small stand-in for MMF in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmf_bridge.line import line_of

ROOT = Path(__file__).resolve().parents[2]

# Gives the hook a table of patches for the stand-in, in every process started (spawned ones too).
SITECUSTOMIZE = """
from mmf_bridge import patches
from mmf_bridge.patches import Patch

patches.TABLE = (
    Patch("mmf.thing", "patches_under_test:before", "", "", before=True),
    Patch("mmf.thing", "patches_under_test:first", "", ""),
    Patch("mmf.thing", "patches_under_test:second", "", "", ("rc7",)),
    Patch("mmf.thing", "patches_under_test:fails", "", "", ("main",)),
    Patch("mmf.broken", "patches_under_test:fails", "", ""),
    Patch("mmf_cli.run", "patches_under_test:runs", "", ""),
)
import mmf_bridge.finder
mmf_bridge.finder.install()
"""

PATCHES = """
calls = []

def before(name):
    calls.append(("before", name))

def first(module):
    calls.append(("first", module.value))
    module.value += 1

def second(module):
    calls.append(("second", module.value))
    module.double = lambda x: 2 * x

def fails(module):
    raise KeyError("no such attribute")

def runs(module):
    module.work = patched_work

def patched_work(x):
    return ("patched", x)
"""

RUN = """
import multiprocessing
import sys

def work(x):
    return ("as published", x)

def call_work(x):
    return work(x)

def run():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(work(sys.argv[1]), pool.apply(call_work, (sys.argv[1],)), call_work.__module__)

if __name__ == "__main__":
    run()
"""


@pytest.fixture
def python(tmp_path):
    """Runs Python with the hook on a stand-in for MMF 1.0.0rc7."""
    files = {
        "sitecustomize.py": SITECUSTOMIZE,
        "patches_under_test.py": PATCHES,
        "mmf/__init__.py": "",
        "mmf/version.py": '__version__ = "1.0.0rc7"\n',
        "mmf/thing.py": "value = 1\n\ndef double(x):\n    return 'as published'\n",
        "mmf/plain.py": "value = 1\n",
        "mmf/broken.py": "",
        "mmf/data/__init__.py": "",
        "mmf/data/words.txt": "hello",
        "mmf_cli/__init__.py": "",
        "mmf_cli/run.py": RUN,
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def run(*arguments, **environment):
        env = {key: value for key, value in os.environ.items() if key != "MMF_BRIDGE"}
        env.update(environment, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
        return subprocess.run(
            [sys.executable, *arguments], env=env, cwd=tmp_path, capture_output=True, text=True
        )

    run.folder = tmp_path
    return run


def output(result):
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_patches_run_around_the_module_in_order(python):
    code = """
import mmf.thing, patches_under_test
print(patches_under_test.calls, mmf.thing.value, mmf.thing.double(4))
"""
    expected = "[('before', 'mmf.thing'), ('first', 1), ('second', 2)] 2 8"
    assert output(python("-c", code)) == expected


def test_reload_patches_again(python):
    code = """
import importlib, mmf.thing
importlib.reload(mmf.thing)
print(mmf.thing.value, mmf.thing.double(4))
"""
    assert output(python("-c", code)) == "2 8"


def test_modules_without_patches_keep_pythons_own_loader(python):
    code = """
import mmf.plain
print(type(mmf.plain.__loader__).__module__)
"""
    assert output(python("-c", code)) == "_frozen_importlib_external"


def test_failing_patch_is_an_import_error_with_names(python):
    result = python("-c", "import mmf.broken")
    assert result.returncode != 0
    assert "ImportError" in result.stderr
    assert "the patch patches_under_test:fails of mmf.broken failed" in result.stderr
    assert "KeyError: 'no such attribute'" in result.stderr


def test_python_dash_m_and_spawned_workers_run_the_patched_module(python):
    expected = "('patched', 'x') ('patched', 'x') mmf_cli.run"
    assert output(python("-m", "mmf_cli.run", "x")) == expected


def test_console_script_runs_the_patched_module(python):
    expected = "('patched', 'x') ('patched', 'x') mmf_cli.run"
    script = python.folder / "mmf_run"
    script.write_text(
        "from mmf_cli.run import run\nimport sys\nif __name__ == '__main__':\n    sys.exit(run())\n"
    )
    assert output(python(str(script), "x")) == expected


def test_source_resources_and_pickles_of_patched_modules(python):
    code = """
import inspect, importlib.resources, pickle
import mmf, mmf.data, mmf_cli.run
print(inspect.getsource(mmf_cli.run.call_work).split("\\n")[0])
print(importlib.resources.files("mmf.data").joinpath("words.txt").read_text())
print(importlib.resources.files("mmf").joinpath("version.py").is_file())
print(pickle.loads(pickle.dumps(mmf_cli.run.call_work)) is mmf_cli.run.call_work)
"""
    assert output(python("-c", code)).split("\n") == [
        "def call_work(x):",
        "hello",
        "True",
        "True",
    ]


@pytest.mark.parametrize("value", ["0", "off", "false", "OFF"])
def test_switch_turns_the_hook_off(python, value):
    code = """
import sys, mmf.thing
from mmf_bridge.finder import is_installed
print(is_installed(), mmf.thing.value, "mmf_bridge.loader" in sys.modules)
"""
    assert output(python("-c", code, MMF_BRIDGE=value)) == "False 1 False"


def test_other_imports_load_nothing_of_the_bridge(python):
    code = """
import sys, json, sqlite3
try:
    import no_such_package
except ModuleNotFoundError:
    pass
print(sorted(n for n in sys.modules if n.startswith("mmf_bridge") and n != "mmf_bridge.patches"))
"""
    assert output(python("-c", code)) == "['mmf_bridge', 'mmf_bridge.finder']"


def test_the_finder_imports_nothing_else():
    """Every start of Python pays for what it imports (`typing` alone costs more than all of it)."""
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
before = set(sys.modules)
import mmf_bridge.finder
mmf_bridge.finder.install()
print(sorted(set(sys.modules) - before))
"""
    result = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
    assert output(result) == "['mmf_bridge', 'mmf_bridge.finder']"


def test_install_twice_adds_one_finder(python):
    code = """
import sys
from mmf_bridge.finder import MmfFinder, install
install()
print(sum(isinstance(f, MmfFinder) for f in sys.meta_path), type(sys.meta_path[0]).__name__)
"""
    assert output(python("-c", code)) == "1 MmfFinder"


def test_asking_where_mmf_is_does_not_wake_the_old_names(python):
    code = """
import importlib.util, sys
print(importlib.util.find_spec("mmf").name, importlib.util.find_spec("torchtext") is None)
import mmf
print(importlib.util.find_spec("torchtext") is None)
"""
    assert output(python("-c", code)) == "mmf True\nFalse"


@pytest.mark.parametrize(
    ("version", "line"),
    [
        ("1.0.0rc7", "rc7"),
        ("1.0.0rc11", "main"),
        ("1.0.0rc12", "main"),
        ("1.0.0rc8", None),
        ("1.0.0rc10", None),
        ("0.3", None),
        (None, None),
    ],
)
def test_line_of_a_version(version, line):
    assert line_of(version) == line


def test_unsupported_version_is_left_alone_with_one_warning(python):
    (python.folder / "mmf/version.py").write_text('__version__ = "1.0.0rc10"\n')
    result = python("-c", "import mmf.thing, mmf.plain; print(mmf.thing.value)")
    assert output(result) == "1"
    assert result.stderr.count("RuntimeWarning: mmf_bridge: MMF 1.0.0rc10") == 1
    assert "1.0.0rc7 (PyPI)" in result.stderr


def test_mmf_without_sources_is_refused(python):
    import py_compile

    source = python.folder / "mmf/thing.py"
    py_compile.compile(str(source), cfile=str(source.with_suffix(".pyc")))
    source.unlink()
    result = python("-c", "import mmf.thing")
    assert "ImportError: mmf_bridge: mmf.thing was found as" in result.stderr


def test_each_patch_names_a_test_that_exists():
    from mmf_bridge.patches import TABLE

    for patch in TABLE:
        file, _, name = patch.test.partition("::")
        name = name.partition("[")[0]
        assert f"\ndef {name}(" in (ROOT / "tests" / "bridge" / file).read_text(), patch
        module, _, function = patch.function.partition(":")
        source = (ROOT / Path(*module.split("."))).with_suffix(".py").read_text()
        assert f"\ndef {function}(" in source, patch
        assert patch.since


def test_the_documentation_names_each_file_that_patches():
    from mmf_bridge.patches import TABLE

    page = (ROOT / "docs" / "bridge.md").read_text(encoding="utf-8")
    tables = page.partition("## What the bridge patches")[2].partition("\n## ")[0]
    files = {patch.function.partition(":")[0].removeprefix("mmf_bridge.") for patch in TABLE}
    assert [f for f in sorted(files) if f"`{f.replace('.', '/')}.py`" not in tables] == []


def test_a_patch_can_be_left_out(python):
    code = "import mmf.thing; print(mmf.thing.value, mmf.thing.double(2))"
    assert output(python("-c", code)) == "2 4"
    left_out = "patches_under_test:first"
    assert output(python("-c", code, MMF_BRIDGE_WITHOUT=left_out)) == "1 4"
    result = python("-c", code, MMF_BRIDGE_WITHOUT=f"{left_out},misspelt:patch")
    assert result.returncode == 1
    assert "MMF_BRIDGE_WITHOUT: got misspelt:patch, which is not" in result.stderr
    status = python("-m", "mmf_bridge", MMF_BRIDGE_WITHOUT=left_out)
    assert f"left out by MMF_BRIDGE_WITHOUT: {left_out}" in output(status)
    assert python("-m", "mmf_bridge", MMF_BRIDGE_WITHOUT="misspelt:patch").returncode == 1
