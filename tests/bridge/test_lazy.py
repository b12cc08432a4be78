"""Names of MMF's registry and packages: found as ever, imported when somebody asks."""

import subprocess
import sys
from types import ModuleType

import pytest

from mmf_bridge import lazy
from mmf_bridge.line import detect

START = """
import sys
import mmf_bridge.finder
mmf_bridge.finder.install()
from mmf.common.registry import registry
from mmf.utils.env import setup_imports
setup_imports()
"""


def run(code):
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", START + code], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_a_name_imports_the_module_that_registers_it():
    out = run("""
names = ["mmf.models.pythia", "mmf.models.vilbert", "mmf.datasets.builders.vqa2.builder"]
print([name in sys.modules for name in names])
print(registry.get_model_class("pythia").__module__)
print([name in sys.modules for name in names])
print(registry.get_builder_class("vqa2").__module__)
print(registry.get_processor_class("vocab").__name__, registry.get_metric_class("f1").__name__)
""")
    assert out[-5:] == [
        "[False, False, False]",
        "mmf.models.pythia",
        "[True, False, False]",
        "mmf.datasets.builders.vqa2.builder",
        "VocabProcessor F1",
    ]


def test_all_names_are_those_of_stock_mmf():
    """Whoever lists the names, and whoever asks for one that nobody has, imports all of them."""
    out = run("""
mapping = registry.mapping
print(registry.get_model_class("nobody"), "mmf.models.vilbert" in sys.modules)
lazily = {kind: set(mapping[kind]) for kind in mapping if kind.endswith("_mapping")}
from mmf.utils import env
registry.unregister("imports_setup")
env.import_all()  # stock MMF's
stock = {kind: set(mapping[kind]) for kind in lazily}
print(lazily == stock, len(lazily["model_name_mapping"]) > 10)
""")
    assert out[-2:] == ["None True", "True True"]


def test_what_others_register_is_not_replaced_by_what_mmf_registers_later():
    out = run("""
from mmf.models.base_model import BaseModel
@registry.register_model("pythia")
class Mine(BaseModel):
    pass

import mmf.models.pythia
list(registry.mapping["model_name_mapping"])
print(registry.get_model_class("pythia") is Mine)
""")
    assert out[-1:] == ["True"]


def test_packages_of_mmf_have_their_names():
    out = run("""
import mmf.models
from mmf.models import VisualBERT
from mmf.datasets.processors import MaskedTokenProcessor
print(VisualBERT.__module__, mmf.models.ban.__name__, MaskedTokenProcessor.__name__)
print(hasattr(mmf.models, "nobody"), "Pythia" in mmf.models.__all__)
""")
    assert out[-2:] == [
        "mmf.models.visual_bert mmf.models.ban MaskedTokenProcessor",
        "False True",
    ]


def test_functions_and_attributes_of_a_lent_module_are_the_modules_own(tmp_path, monkeypatch):
    (tmp_path / "heavy").mkdir()
    (tmp_path / "heavy" / "__init__.py").write_text("")
    (tmp_path / "heavy" / "part.py").write_text(
        "NAMES = ('.jpg',)\nclass Thing: pass\ndef double(x): return 2 * x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    names: dict = {}
    with lazy.lent("heavy.part"):
        exec("import heavy.part as part\nfrom heavy.part import Thing, double", names)
    assert not {"heavy", "heavy.part"} & set(sys.modules)
    assert not isinstance(3, names["Thing"])
    assert "heavy.part" not in sys.modules  # of a class that is not there, nothing is an instance
    assert names["double"](2) == 4
    assert isinstance(names["Thing"](), names["Thing"])
    assert names["part"].NAMES == (".jpg",)
    assert type(sys.modules["heavy.part"]) is ModuleType
    del sys.modules["heavy"], sys.modules["heavy.part"]


def test_metrics_call_the_functions_of_scikit_learn():
    out = run("""
import torch
from mmf.common.sample import SampleList
assert "sklearn" not in sys.modules
batch = SampleList()
batch.targets = torch.tensor([0, 1, 1])
scores = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
print(float(registry.get_metric_class("macro_f1")().calculate(batch, {"scores": scores})))
""")
    assert float(out[-1]) == pytest.approx(2 / 3)


@pytest.mark.skipif(detect() != "main", reason="Lightning is main's")
def test_lightning_and_torchmetrics_are_whole():
    out = run("""
import mmf, pytorch_lightning, torch, torchmetrics
print("torch._dynamo" in sys.modules, "torchvision" in sys.modules)
from torchmetrics import Accuracy, Metric
from torchmetrics.classification import BinaryAccuracy
metric = Accuracy(task="binary")
print(isinstance(metric, Metric), torchmetrics.Metric is Metric, type(metric) is BinaryAccuracy)
class Module(pytorch_lightning.LightningModule):
    pass
from pytorch_lightning.utilities.compile import _maybe_unwrap_optimized as unwrap
module = Module()
print(unwrap(module) is module, unwrap(torch.compile(module)) is module)
from pytorch_lightning.trainer.connectors.logger_connector.result import _ResultCollection
print(_ResultCollection(True))
""")
    assert out[-4:-1] == ["False False", "True True True", "True True"]
