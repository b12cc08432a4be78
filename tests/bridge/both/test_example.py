"""The example of the bridge's README: MMF's own Pythia, from its data to its predictions."""

import json
import runpy

import numpy as np

from tests.bridge.runs import ROOT, run_options


def test_pythia_learns_and_predicts(tmp_path):
    runpy.run_path(str(ROOT / "bridge" / "example.py"))["write"](tmp_path)
    options = [f"config={tmp_path / 'pythia.yaml'}", "training.evaluation_interval=200"]
    run = run_options(tmp_path, options)
    assert run.exit_codes == [0], run.output
    options += ["checkpoint.resume=true", "checkpoint.resume_best=true"]
    run = run_options(tmp_path, options, predict=True)
    assert run.exit_codes == [0], run.output
    (file,) = tmp_path.rglob("reports/*_*.json")
    predicted = {row["question_id"]: row["answer"] for row in json.loads(file.read_text())}
    answers = np.load(tmp_path / "test.npy", allow_pickle=True)[1:]
    right = [predicted[row["question_id"]] == row["answers"][0] for row in answers]
    assert sum(right) > 90
