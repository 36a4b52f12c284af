"""Downloading original files, from a server on this machine, and being without a network."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import tarfile
import threading
import time

import pytest
from prepared_data import find_originals, sort_examples, write_cifar10_bins

from phase_jax import data
from phase_jax.data import download, sources
from phase_jax.types import InputError

NUM_RECORDS = 20


@contextlib.contextmanager
def serve(folder):
    """Serve a folder over HTTP on this machine; yield its address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def move_registered_files(monkeypatch, address):
    """Let `address` be the place that the registered files are downloaded from."""
    original = sources.registered_files

    def registered_files(name):
        return {
            file_name: file._replace(url=f"{address}/{file_name}")
            for file_name, file in original(name).items()
        }

    monkeypatch.setattr(sources, "registered_files", registered_files)
    monkeypatch.setattr(download, "registered_files", registered_files)


def test_originals_are_downloaded(tmp_path, monkeypatch, capfd):
    source = find_originals("mnist")
    with serve(source) as address:
        move_registered_files(monkeypatch, address)
        download.check_reachable("mnist")
        folder = download.download_files("mnist", tmp_path / "originals")
    for file_name in sources.registered_files("mnist"):
        assert (folder / file_name).read_bytes() == (source / file_name).read_bytes()
    assert capfd.readouterr() == ("", "")


def test_downloaded_originals_are_prepared(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "CIFAR10_RECORDS_PER_FILE", NUM_RECORDS)
    originals = write_cifar10_bins(tmp_path / "cifar-10-batches-bin", NUM_RECORDS)
    archive = tmp_path / "server" / "cifar-10-binary.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "cifar-10-batches-bin", "cifar-10-batches-bin")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    root = tmp_path / "prepared"
    with serve(archive.parent) as address:
        files = {archive.name: sources.RegisteredFile(f"{address}/{archive.name}", digest)}
        monkeypatch.setattr(sources, "registered_files", lambda name: files)
        monkeypatch.setattr(download, "registered_files", lambda name: files)
        data.prepare_dataset("cifar10", data_dir=root)
    assert [path.name for path in root.iterdir()] == ["cifar10"]
    cifar10 = data.load_dataset("cifar10", data_dir=root)
    assert sort_examples(cifar10.test_images, cifar10.test_labels) == originals["test"]


def test_downloaded_file_that_is_not_the_original_is_refused(tmp_path, monkeypatch):
    server = tmp_path / "server"
    server.mkdir()
    for file_name in sources.registered_files("mnist"):
        (server / file_name).write_bytes(b"an error page")
    with serve(server) as address:
        move_registered_files(monkeypatch, address)
        with pytest.raises(InputError, match=r"is not the original .* expected 8d422c7b0a1c"):
            data.prepare_dataset("mnist", data_dir=tmp_path / "prepared")
    assert list((tmp_path / "prepared").iterdir()) == []


def test_file_missing_on_the_server_is_one_line(tmp_path, monkeypatch):
    with serve(tmp_path) as address:
        move_registered_files(monkeypatch, address)
        with pytest.raises(InputError, match=r"HTTP status 404\); give a directory .* --source"):
            data.prepare_dataset("mnist", data_dir=tmp_path)
        (tmp_path / "t10k-images-idx3-ubyte.gz").touch()  # the one that is looked for first
        with pytest.raises(InputError, match=r"a download failed .*404") as caught:
            data.prepare_dataset("mnist", data_dir=tmp_path)
    assert "\n" not in str(caught.value)


def test_no_network_is_said_quickly(tmp_path, monkeypatch):
    move_registered_files(monkeypatch, "http://127.0.0.1:9")  # nobody listens there
    start = time.monotonic()
    with pytest.raises(InputError) as caught:
        data.prepare_dataset("mnist", data_dir=tmp_path / "prepared")
    assert time.monotonic() - start < 10
    assert "prepare mnist: cannot download from 127.0.0.1 (ConnectionError)" in str(caught.value)
    assert str(caught.value).endswith("train-labels-idx1-ubyte.gz with --source")
    assert not (tmp_path / "prepared").exists()


def test_silent_network_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PROBE_SECONDS", 0.1)
    monkeypatch.setattr(download, "_probe", lambda url: time.sleep(3))
    with pytest.raises(InputError, match=r"no answer within 0\.1 s"):
        data.prepare_dataset("mnist", data_dir=tmp_path / "prepared")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100", "svhn_cropped"])
def test_tfds_registers_every_original(name):
    files = sources.registered_files(name)
    assert files
    for file_name, file in files.items():
        assert file.url.endswith(f"/{file_name}")
        assert len(file.sha256) == 64
