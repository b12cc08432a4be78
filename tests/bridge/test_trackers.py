"""Each tracker with its own package, on this machine alone; and what all of them share."""

import pytest
from PIL import Image

from mmf_bridge.tracking import TRACKERS
from mmf_bridge.tracking.secrets import without_secrets
from mmf_bridge.tracking.settings import class_of, names_in_use
from mmf_bridge.tracking.tracker import TrackedRun

CONFIG = {"training": {"seed": 1, "metrics": ["a", {"type": "b"}], "empty": {}}}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Nothing connects to another machine."""
    import socket

    stock = socket.socket.connect

    def connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            assert address[0] in ("127.0.0.1", "localhost", "::1"), address
        return stock(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)


def track(name, folder, run_id=None, first=1, **params):
    """Track two updates and a picture; the tracker."""
    cls = class_of(name)
    tracker = cls(TrackedRun("project", "run", folder, CONFIG, params, run_id))
    for step in (first, first + 1):
        tracker.scalars({"train/lr": 0.1 * step, "val/a/b": 0.5}, step)
    tracker.picture("val/a/predictions", Image.new("RGB", (8, 8), "red"), first + 1)
    tracker.summary({"best": 0.75, "criterion": "val/a/b", "updates": first + 1})
    tracker.close(is_complete=True)
    return tracker


def test_wandb(tmp_path, capfd):
    pytest.importorskip("wandb")
    params = {"mode": "offline", "tags": ["a"]}
    first = track("wandb", tmp_path, **params)
    second = track("wandb", tmp_path, first.id, first=2, **params)
    assert second.id == first.id
    runs = sorted((tmp_path / "wandb").glob(f"offline-run-*-{first.id}"))
    assert runs and all(list(run.glob("run-*.wandb")) for run in runs)
    assert list(runs[0].rglob("predictions*.png"))
    written = (runs[0] / f"run-{first.id}.wandb").read_bytes()
    for text in (b"train/lr", b"val/a/b", b"run/best", b"seed"):
        assert text in written
    assert first.place.startswith("wandb sync ")
    assert capfd.readouterr() == ("", "")  # the run's console names the place
    with pytest.raises(ValueError, match=r"params\.wandb\.entitty.* Did you mean entity\?"):
        track("wandb", tmp_path, entitty="me")


def test_mlflow(tmp_path, monkeypatch, caplog):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    store = f"file:{tmp_path}/store"
    first = track("mlflow", tmp_path, tracking_uri=store, tags={"who": "me"})
    track("mlflow", tmp_path, first.id, first=2, tracking_uri=store)
    client = MlflowClient(tracking_uri=store)
    (experiment,) = client.search_experiments(filter_string="name = 'project'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == first.id and run.info.status == "FINISHED"
    assert run.info.run_name == "run" and run.data.tags["who"] == "me"
    assert run.data.params["training.seed"] == "1" and run.data.params["training.empty"] == "{}"
    assert run.data.metrics["run/best"] == 0.75 and run.data.tags["run/criterion"] == "val/a/b"
    steps = [metric.step for metric in client.get_metric_history(first.id, "train/lr")]
    assert sorted(steps) == [1, 2, 2, 3]
    assert [file.path for file in client.list_artifacts(first.id, "images")]
    with pytest.raises(ValueError, match=r"Choices: tracking_uri, tags$"):
        track("mlflow", tmp_path, uri=store)
    # A run that is gone, and a store that has never had it.
    client.delete_run(first.id)
    for other in (store, f"file:{tmp_path}/other"):
        again = track("mlflow", tmp_path, first.id, first=4, tracking_uri=other)
        assert again.id != first.id
        assert (
            MlflowClient(tracking_uri=other).get_run(again.id).data.params["training.seed"] == "1"
        )
        assert f"mlflow begins a new run: {other} has no run {first.id} any more" in caplog.text


def test_trackio(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))  # before its import
    trackio = pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    params = {"auto_log_cpu": False, "auto_log_gpu": False}
    first = track("trackio", tmp_path, **params)
    track("trackio", tmp_path, first.id, first=2, **params)
    other = track("trackio", tmp_path, **params)  # a new run of the same name
    assert first.id.startswith("run-") and first.id != other.id
    assert (tmp_path / "project.db").exists()
    logged = SQLiteStorage.get_logs("project", first.id)
    steps = [row["step"] for row in logged if "train/lr" in row]
    assert steps == [1, 2, 2, 3]
    assert any("val/a/predictions" in row for row in logged)
    assert any(row.get("run/best") == 0.75 for row in logged)
    assert first.place == "trackio show --project project"
    assert "Trackio" not in capfd.readouterr().out
    assert trackio.context_vars.current_run.get() is None


def test_secrets_are_not_shown():
    config = {
        "env": {"api_key": "x", "save_dir": "save", "token": None, "Password": "y"},
        "datasets": [{"url": "https://me:pass@host/a?b=1&access_token=z", "auth_token": "t"}],
        "model": {"tokenizer": "bert", "max_tokens": "7", "key": "value", "token": 5},
    }
    shown = without_secrets(config)
    assert shown["env"] == {"api_key": "***", "save_dir": "save", "token": None, "Password": "***"}
    assert shown["datasets"][0] == {
        "url": "https://***@host/a?b=1&access_token=***",
        "auth_token": "***",
    }
    assert shown["model"] == config["model"]


@pytest.mark.parametrize("text", ["wandb, mlflow", "[wandb,mlflow]", ["wandb", "mlflow"]])
def test_a_text_may_name_trackers(text):
    assert names_in_use(text) == ["wandb", "mlflow"]
    assert names_in_use(None) == names_in_use("") == names_in_use([]) == []


def test_every_tracker_says_what_it_needs():
    for name in TRACKERS:
        assert class_of(name).package
