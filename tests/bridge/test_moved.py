"""Old names: found while MMF is in use, absent otherwise, never in front of a real package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmf_bridge.common.adamw import AdamW
from mmf_bridge.line import detect

ROOT = Path(__file__).resolve().parents[2]

WALK = """
import importlib, importlib.util, json, pkgutil, sys
import mmf_bridge.finder
mmf_bridge.finder.install()
result = {"before": [importlib.util.find_spec(n) is None for n in ("torchtext", "demjson")]}
import mmf
failures = {}
for module in pkgutil.walk_packages(mmf.__path__, "mmf."):
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        failures[module.name] = str(error)
result["failures"] = failures
import demjson, demjson3, torchtext, collections, transformers.optimization
from mmf.utils import logger
from mmf.modules import optimizers
result["demjson"] = demjson is demjson3
result["mapping"] = hasattr(getattr(logger, "collections", None), "Mapping")
result["adamw"] = optimizers.AdamW.__module__
result["left in transformers"] = hasattr(transformers.optimization, "AdamW")
result["left in collections"] = hasattr(collections, "Mapping")
result["torchtext"] = torchtext.__name__
print(json.dumps(result))
"""


def run(code, *paths):
    env = {key: value for key, value in os.environ.items() if key != "MMF_BRIDGE"}
    env["PYTHONPATH"] = os.pathsep.join([*map(str, paths), str(ROOT)])
    result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def walked():
    """What a process saw that imported every module of the installed MMF."""
    return json.loads(run(WALK))


def test_every_module_of_mmf_imports(walked):
    # This one imports a module that MMF itself does not have.
    walked["failures"].pop("mmf.datasets.builders.visual_dialog.original", None)
    assert walked["failures"] == {}


def test_old_names_come_with_mmf_only(walked):
    assert walked["before"] == [True, True]
    assert walked["demjson"]


@pytest.mark.skipif(detect() != "rc7", reason="main asks for no collections.Mapping")
def test_mapping_is_found_without_touching_collections(walked):
    assert walked["mapping"]
    assert not walked["left in collections"]


def test_adamw_is_lent_and_taken_back(walked):
    assert walked["adamw"] == "mmf_bridge.common.adamw"
    assert not walked["left in transformers"]


def test_torchtext_is_word_vectors(walked):
    assert walked["torchtext"] == "mmf_bridge.common.word_vectors"


def test_an_installed_package_is_preferred(tmp_path):
    (tmp_path / "torchtext.py").write_text("vocab = 'the real one'\n")
    (tmp_path / "mmf").mkdir()
    (tmp_path / "mmf/__init__.py").write_text("from torchtext import vocab\n")
    (tmp_path / "mmf/version.py").write_text('__version__ = "1.0.0rc7"\n')
    code = "import mmf_bridge.finder as f; f.install(); import mmf; print(mmf.vocab)"
    assert run(code, tmp_path) == "the real one"


def test_names_of_main(tmp_path):
    """main asks for one module of an older Lightning; the stand-in asks for it alone."""
    files = {
        "mmf/__init__.py": "from pytorch_lightning.callbacks.base import Callback\n",
        "mmf/version.py": '__version__ = "1.0.0rc12"\n',
        "mmf/datasets/__init__.py": "",
        "mmf/datasets/builders/__init__.py": "",
        "mmf/datasets/builders/charades/__init__.py": "",
        "mmf/datasets/builders/charades/_utils.py": "from torchvision.io import read_video\n",
        "torchvision/__init__.py": "",
        "torchvision/io/__init__.py": "",
        "pytorch_lightning/__init__.py": "",
        "pytorch_lightning/callbacks/__init__.py": "class Callback: pass\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    code = """
import mmf_bridge.finder as f
f.install()
import mmf, torchvision.io
from mmf.datasets.builders.charades._utils import read_video
try:
    read_video("film.mp4")
except RuntimeError as error:
    print(mmf.Callback.__module__, hasattr(torchvision.io, "read_video"), "Charades" in str(error))
"""
    assert run(code, tmp_path) == "pytorch_lightning.callbacks False True"


def reference_update(param, grad, exp_avg, exp_avg_sq, step, correct_bias, lr, eps, decay):
    """One update as transformers 2.3 wrote it, in float64, element by element."""
    exp_avg = [0.9 * m + 0.1 * g for m, g in zip(exp_avg, grad, strict=True)]
    exp_avg_sq = [0.999 * v + 0.001 * g * g for v, g in zip(exp_avg_sq, grad, strict=True)]
    size = lr * (1 - 0.999**step) ** 0.5 / (1 - 0.9**step) if correct_bias else lr
    param = [
        p - size * m / (v**0.5 + eps) for p, m, v in zip(param, exp_avg, exp_avg_sq, strict=True)
    ]
    return [p - lr * decay * p for p in param], exp_avg, exp_avg_sq


@pytest.mark.parametrize("correct_bias", [True, False])
def test_adamw_makes_the_old_updates(correct_bias):
    start = [1.0, -2.0, 0.5]
    param = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = AdamW([param], lr=0.1, weight_decay=0.01, correct_bias=correct_bias)
    expected, exp_avg, exp_avg_sq = start, [0.0] * 3, [0.0] * 3
    for step in range(1, 5):
        # small gradients, so that the place of eps matters
        grad = [1e-6 * step, -3e-7, 2e-5 / step]
        param.grad = torch.tensor(grad, dtype=torch.float64)
        optimizer.step()
        expected, exp_avg, exp_avg_sq = reference_update(
            expected, grad, exp_avg, exp_avg_sq, step, correct_bias, 0.1, 1e-6, 0.01
        )
        torch.testing.assert_close(
            param.detach(), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0
        )


def test_adamw_has_the_old_defaults():
    group = AdamW([torch.nn.Parameter(torch.zeros(1))]).param_groups[0]
    kept = ("lr", "betas", "eps", "weight_decay", "correct_bias")
    assert [group[key] for key in kept] == [1e-3, (0.9, 0.999), 1e-6, 0.0, True]


def test_adamw_resumes_from_its_state():
    def updates(count, state=None, value=1.0):
        param = torch.nn.Parameter(torch.tensor([value]))
        optimizer = AdamW([param], lr=0.1)
        if state is not None:
            optimizer.load_state_dict(state)
        for _ in range(count):
            param.grad = param.detach() * 2
            optimizer.step()
        return param.item(), optimizer.state_dict()

    value, state = updates(3)
    assert updates(2, state, value)[0] == updates(5)[0]
