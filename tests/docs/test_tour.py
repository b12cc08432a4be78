"""docs/tour.ipynb: its code runs, and its outputs are those of another machine and small."""

import json
import re
from itertools import count

import pytest

from tests.bridge.main.conftest import mmf  # noqa: F401 (a fixture)
from tests.bridge.runs import ROOT
from tests.e2e.conftest import package  # noqa: F401 (a fixture)

FILE = ROOT / "docs" / "tour.ipynb"
NOTEBOOK = json.loads(FILE.read_text(encoding="utf-8"))
UPDATES = re.compile(r"^UPDATES = \d+", re.MULTILINE)
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
# A few channels less.
SMALL = "model_config.clipvil.image_encoder.params.tower.width=8"


def test_its_cells_run_in_order(package, tmp_path, monkeypatch, capsys):  # noqa: F811
    """In this process, on the first images of the data, four updates."""
    import matplotlib

    import clipvil_mmf

    matplotlib.use("Agg")
    clipvil_mmf.register()  # MMF may have been imported before
    monkeypatch.setattr("os.fsync", lambda file: None)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "tour"}
    for number, text in zip(count(1), CODE):
        text = UPDATES.sub("UPDATES = 4", text).replace("config,\n", f'config,\n"{SMALL}",\n')
        text = text.replace("[config,", f'[config, "{SMALL}",')
        exec(compile(text, f"cell {number} of tour.ipynb", "exec"), names)
    said = capsys.readouterr().out
    assert "4/4 epoch" in said and re.search(r"% of +\d+ all", said)
    assert names["events"].is_relative_to("save/tour") and names["cells"]


def test_its_cells_run_in_a_notebook(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    # As an installation has it.
    (tmp_path / "sitecustomize.py").write_text("import mmf_bridge.finder as f; f.install()\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    notebook = nbformat.read(FILE, 4)
    for cell in notebook.cells:
        cell.source = UPDATES.sub("UPDATES = 4", cell.source)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    said = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ())
    )
    assert "4/4 epoch" in said and "\r" not in said


def test_its_outputs():
    """All cells have run once, in order, without errors; nothing of the machine is in them."""
    cells = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert FILE.stat().st_size < 1e6
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert "error" not in {output["output_type"] for output in outputs}
    assert sum("image/png" in output.get("data", ()) for output in outputs) == 4
    text = "".join(
        "".join(output.get("text", ()) or output.get("data", {}).get("text/plain", ()))
        for output in outputs
    )
    assert not re.search(r"(?<![\w.])/(home|root|tmp|work|usr|opt|mnt|var)/", text), text
    assert "warning" not in text.lower() and "\x1b" not in text


def test_its_links_lead_somewhere():
    for cell in NOTEBOOK["cells"]:
        for target in re.findall(r"\]\(([^)\s]+)\)", "".join(cell["source"])):
            assert (FILE.parent / target).exists(), target
