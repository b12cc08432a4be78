"""MMF's zoo on both lines: downloads from a stand-in for the server."""

import hashlib
import http.server
import io
import tarfile
import threading
from functools import partial
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mmf_bridge.line import detect
from tests.bridge.main.conftest import mmf  # noqa: F401 (a fixture)
from tests.bridge.runs import ROOT

OURS = ROOT / "projects" / "clipvil" / "configs" / "zoo" / "datasets.yaml"


@pytest.fixture
def served(tmp_path):
    """A server of one archive: its address, the archive and its checksum."""
    folder = tmp_path / "server"
    folder.mkdir()
    archive = folder / "annotations.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("imdb_train2014.npy")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"data"))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", archive, digest(archive)
    server.shutdown()
    server.server_close()


def digest(file):
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


@pytest.fixture
def build(tmp_path, monkeypatch):
    """A function that fetches what a zoo entry lists, as a dataset's builder does."""
    from mmf.datasets import mmf_dataset_builder as module

    monkeypatch.setattr(module, "get_mmf_env", lambda key: str(tmp_path / "data"))

    def build(url, hashcode):
        entry = {"url": url, "file_name": "annotations.tar.gz", "hashcode": hashcode}
        zoo = {"toy": {"defaults": {"version": "1", "resources": {"annotations": [entry]}}}}
        OmegaConf.save(OmegaConf.create(zoo), tmp_path / "zoo.yaml")
        builder = module.MMFDatasetBuilder("toy")
        builder.zoo_config_path = str(tmp_path / "zoo.yaml")
        builder.build(OmegaConf.create({"zoo_requirements": ["toy.defaults"]}))
        return tmp_path / "data" / "datasets" / "toy" / "defaults" / "annotations"

    return build


@pytest.mark.skipif(detect() != "main", reason="rc7's zoo has neither")
@pytest.mark.parametrize("key", ["vqa2.defaults", "gqa.defaults"])
def test_the_plugins_entries_are_those_of_main(key):
    from mmf.utils.configuration import get_zoo_config

    version, resources = get_zoo_config(key, "defaults", "configs/zoo/datasets.yaml", "datasets")
    ours = OmegaConf.select(OmegaConf.load(OURS), key)
    assert (version, resources) == (ours.version, ours.resources)


def test_a_file_is_fetched_checked_and_unpacked(served, build):
    url, _, checksum = served
    folder = build(f"{url}/annotations.tar.gz", checksum)
    assert (folder / "imdb_train2014.npy").read_bytes() == b"data"
    assert (folder / ".built.json").is_file()
    assert not list(folder.glob("*.part"))


def test_a_wrong_checksum(served, build, tmp_path):
    url, _, checksum = served
    with pytest.raises(RuntimeError) as caught:
        build(f"{url}/annotations.tar.gz", "0" * 64)
    file = tmp_path / "data/datasets/toy/defaults/annotations/annotations.tar.gz"
    message = str(caught.value)
    assert message.startswith(f"{file}, downloaded from {url}/annotations.tar.gz, has the sha256")
    assert f"{checksum}; expected {'0' * 64}" in message
    assert not (file.parent / "imdb_train2014.npy").exists()  # nothing of it is unpacked
    assert not (file.parent / ".built.json").exists()
    build(f"{url}/annotations.tar.gz", checksum)  # the next start repairs it
    assert (file.parent / "imdb_train2014.npy").exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "{server}/missing"])
def test_without_a_server_the_message_says_which_file_to_put_where(served, build, tmp_path, url):
    server, _, checksum = served
    url = f"{url.format(server=server)}/annotations.tar.gz"
    with pytest.raises(RuntimeError) as caught:
        build(url, checksum)
    file = tmp_path / "data/datasets/toy/defaults/annotations/annotations.tar.gz"
    assert str(caught.value).startswith(f"{url} cannot be downloaded (")
    assert f"put it at {file}, sha256 {checksum}, and start again" in str(caught.value)


def test_a_file_put_there_by_hand_is_unpacked(served, build, tmp_path):
    _, archive, checksum = served
    folder = tmp_path / "data/datasets/toy/defaults/annotations"
    folder.mkdir(parents=True)
    (folder / archive.name).write_bytes(archive.read_bytes())
    build("http://127.0.0.1:9/annotations.tar.gz", checksum)
    assert (folder / "imdb_train2014.npy").read_bytes() == b"data"


def test_another_file_put_there_by_hand(served, build, tmp_path):
    _, archive, checksum = served
    folder = tmp_path / "data/datasets/toy/defaults/annotations"
    folder.mkdir(parents=True)
    (folder / archive.name).write_bytes(b"another")
    with pytest.raises(RuntimeError, match="what lies there has the sha256") as caught:
        build("http://127.0.0.1:9/annotations.tar.gz", checksum)
    assert digest(folder / archive.name) in str(caught.value)
