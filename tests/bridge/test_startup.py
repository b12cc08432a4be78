"""What a start imports: third-party packages are listed, and each that is not is named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmf_bridge.line import detect

ROOT = Path(__file__).resolve().parents[2]

# Prints each third-party package with the module that first asked for it.
WATCH = """
import json, sys

class Watch:
    importers = {}

    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe(1)
        while frame and "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        importer = frame.f_globals.get("__name__") if frame else None
        self.importers.setdefault(name.partition(".")[0], importer)

sys.meta_path.insert(0, Watch())
import mmf_bridge.finder
mmf_bridge.finder.install()
try:
    exec(sys.argv[1])
except SystemExit:
    pass
found = {}
for name, module in list(sys.modules.items()):
    package = name.partition(".")[0]
    if "site-packages" in str(getattr(module, "__file__", None)):
        found[package] = Watch.importers.get(package)
parts = [name for name in ("torch._dynamo", "mmf.models.pythia") if name in sys.modules]
print(json.dumps({"packages": found, "parts": parts}))
"""

# Up to where MMF says its seed.
RUN = f"""
import mmf_cli.run
from mmf_bridge.common.launch import read_configuration
config = "config={ROOT}/projects/clipvil/configs/easy_vqa.yaml"
configuration = read_configuration(mmf_cli.run, [config])
configuration.import_user_dir()
config = configuration.get_config()
assert config.model_config.clipvil

# What the run asks for later is found without the rest of MMF, too.
registry = mmf_cli.run.registry
registry.register("config", config)
assert registry.get_trainer_class(config.training.trainer)
assert registry.get_builder_class("easy_vqa") and registry.get_metric_class("vqa_score")
assert registry.get_scheduler_class(config.scheduler.type)
"""
DOCTOR = """
from clipvil_mmf.cli import doctor
from clipvil_mmf.cli.main import app
doctor.check_torch = lambda: []
app(["doctor", "--quick"])
"""
HELP = "from clipvil_mmf.cli.main import app; app(['--help'])"

ALWAYS = {"_distutils_hack"}
COMMANDS = ALWAYS | {
    *("annotated_doc", "click", "markdown_it", "mdurl", "pygments", "rich", "shellingham", "typer"),
    *("attr", "typing_extensions"),
}
DOCTORS = COMMANDS | {
    *("annotated_types", "pydantic", "pydantic_core", "typing_inspection"),
    *("omegaconf", "packaging", "yaml"),
}
RUNS = ALWAYS | {
    *("cuda", "functorch", "numpy", "torch", "torchgen", "tqdm", "triton", "typing_extensions"),
    # MMF's
    *("attr", "demjson", "demjson3", "filelock", "fvcore", "git", "gitdb", "iopath", "lmdb", "mmf"),
    *("mmf_cli", "omegaconf", "portalocker", "safetensors", "smmap", "tabulate", "termcolor"),
    *("wcwidth", "yaml"),
    *("certifi", "chardet", "charset_normalizer", "idna", "requests", "urllib3"),
    # ours
    *("PIL", "cloudpickle", "pyarrow", "tokenizers"),
}
LIGHTNINGS = {
    *("fsspec", "lightning_fabric", "lightning_utilities", "packaging", "pytorch_lightning"),
    *("rich", "torchmetrics"),
    # torchmetrics'
    *("contourpy", "cycler", "dateutil", "fontTools", "kiwisolver", "matplotlib", "mpl_toolkits"),
    *("pyparsing", "six"),
}


def imported(code):
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WATCH, code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        pytest.param("import clipvil_mmf", ALWAYS, id="plugin without MMF"),
        pytest.param(HELP, COMMANDS, id="clipvil --help"),
        pytest.param(DOCTOR, DOCTORS, id="clipvil doctor"),
    ],
)
def test_the_command_imports_no_more_than_it_uses(code, allowed):
    packages = imported(code)["packages"]
    assert {name: by for name, by in packages.items() if name not in allowed} == {}


def test_a_run_imports_no_more_than_it_uses():
    """Up to its first line: what fails here names a package, and the module that imports it."""
    found = imported(RUN)
    allowed = RUNS | (LIGHTNINGS if detect() == "main" else set())
    assert {name: by for name, by in found["packages"].items() if name not in allowed} == {}
    assert found["parts"] == []
