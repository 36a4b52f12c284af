"""Preparing data sets from their original files: verification, contents, atomicity, messages."""

from __future__ import annotations

import errno
import fcntl
import gzip
import hashlib
import importlib
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
from prepared_data import find_originals, sort_examples, write_cifar10_bins

from phase_jax import data
from phase_jax.data import prepare, sources, write
from phase_jax.data.tfds_import import import_tfds
from phase_jax.types import InputError

ROOT = pathlib.Path(__file__).resolve().parents[1]
NUM_RECORDS = 20


def read_idx(path):
    """Decode an original MNIST file, independently of the package."""
    content = gzip.decompress(path.read_bytes())
    num_axes = content[3]
    shape = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(num_axes)]
    return np.frombuffer(content[4 + 4 * num_axes :], np.uint8).reshape(shape)


@pytest.fixture(scope="session")
def mnist_dir(tmp_path_factory):
    """The real mnist, prepared once for all test processes."""
    source = find_originals("mnist")
    root = tmp_path_factory.getbasetemp()
    root = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "real_data"
    root.mkdir(exist_ok=True)
    with open(root / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        data.prepare_dataset("mnist", source=source, data_dir=root)
    return root


@pytest.fixture
def few_records(monkeypatch):
    monkeypatch.setattr(sources, "CIFAR10_RECORDS_PER_FILE", NUM_RECORDS)


# The real data.


def test_mnist_is_the_original(mnist_dir):
    source = find_originals("mnist")
    mnist = data.load_dataset("mnist", data_dir=mnist_dir)
    assert mnist.train_images.shape == (60_000, 28, 28, 1)
    assert mnist.test_images.shape == (10_000, 28, 28, 1)
    for split, prefix in (("train", "train"), ("test", "t10k")):
        expected = sort_examples(
            read_idx(source / f"{prefix}-images-idx3-ubyte.gz"),
            read_idx(source / f"{prefix}-labels-idx1-ubyte.gz"),
        )
        images, labels = getattr(mnist, f"{split}_images"), getattr(mnist, f"{split}_labels")
        assert sort_examples(images, labels) == expected


def test_prepared_mnist_is_tfdss_stock_data_set(mnist_dir):
    tfds = import_tfds()
    builder = tfds.builder("mnist", data_dir=mnist_dir)
    assert type(builder) is tfds.builder_cls("mnist")
    assert builder.is_prepared()
    assert str(builder.info.version) == "3.0.1"
    assert builder.info.module_name == "tensorflow_datasets.image_classification.mnist"
    source = tfds.data_source("mnist", split="test", data_dir=mnist_dir, download=False)
    assert len(source) == 10_000
    # The first examples that the stock builder, run with TensorFlow, writes.
    assert [source[position]["label"] for position in range(8)] == [2, 0, 4, 8, 7, 6, 0, 6]


def test_mnist_subset_is_loaded_in_seconds(mnist_dir):
    start = time.monotonic()
    mnist = data.load_dataset("mnist", data_dir=mnist_dir, num_train=10_000, num_test=2_000)
    assert time.monotonic() - start < 15  # about 2 s on a free core
    exact = 10_000 * np.bincount(read_idx(find_originals("mnist") / "train-labels-idx1-ubyte.gz"))
    assert np.abs(np.bincount(mnist.train_labels) - exact / 60_000).max() < 1


def test_prepared_twice_says_so(mnist_dir, tmp_path):
    lines = []
    path = data.prepare_dataset(
        "mnist", source=tmp_path / "absent", data_dir=mnist_dir, log_fn=lines.append
    )
    assert path == mnist_dir / "mnist" / "3.0.1"
    assert lines == [f"mnist: already prepared in {path}"]


@pytest.mark.slow  # about 15 s
def test_fashion_mnist_is_prepared(tmp_path):
    source = find_originals("fashion_mnist")
    data.prepare_dataset("fashion_mnist", source=source, data_dir=tmp_path)
    fashion = data.load_dataset("fashion_mnist", data_dir=tmp_path)
    assert np.bincount(fashion.train_labels).tolist() == [6000] * 10
    expected = sort_examples(
        read_idx(source / "t10k-images-idx3-ubyte.gz"),
        read_idx(source / "t10k-labels-idx1-ubyte.gz"),
    )
    assert sort_examples(fashion.test_images, fashion.test_labels) == expected


@pytest.mark.slow  # about 60 s
def test_cifar10_is_prepared(tmp_path, monkeypatch):
    folder = find_originals("cifar10")
    monkeypatch.syspath_prepend(find_originals("load_data.py").parent)
    decoder = importlib.import_module("load_data")
    train, test, _ = decoder.load_cifar10(folder)
    for number in range(5):
        rows = slice(10_000 * number, 10_000 * (number + 1))
        path = tmp_path / f"data_batch_{number + 1}.bin"
        decoder.write_cifar10_bin(train[0][rows], train[1][rows], path)
    decoder.write_cifar10_bin(*test, tmp_path / "test_batch.bin")
    data.prepare_dataset("cifar10", source=tmp_path, data_dir=tmp_path / "prepared")
    cifar10 = data.load_dataset("cifar10", data_dir=tmp_path / "prepared")
    assert sort_examples(cifar10.train_images, cifar10.train_labels) == sort_examples(*train)
    assert sort_examples(cifar10.test_images, cifar10.test_labels) == sort_examples(*test)


# CIFAR-10's files, with few records.


@pytest.mark.parametrize("subfolder", [".", "cifar-10-batches-bin"])
def test_cifar10_is_prepared_from_extracted_files(subfolder, few_records, tmp_path, capfd):
    originals = write_cifar10_bins(tmp_path / subfolder, NUM_RECORDS)
    lines = []
    root = tmp_path / "prepared"
    path = data.prepare_dataset("cifar10", source=tmp_path, data_dir=root, log_fn=lines.append)
    assert path == root / "cifar10" / "3.0.2"
    assert [entry.name for entry in root.iterdir()] == ["cifar10"]
    assert lines[0] == f"cifar10: checking the original files in {tmp_path}"
    assert lines[-1].startswith(f"cifar10: prepared in {path} (")
    cifar10 = data.load_dataset("cifar10", data_dir=root)
    assert sort_examples(cifar10.train_images, cifar10.train_labels) == originals["train"]
    assert sort_examples(cifar10.test_images, cifar10.test_labels) == originals["test"]
    assert capfd.readouterr() == ("", "")


def test_prepared_cifar10_has_the_stock_features(few_records, tmp_path):
    write_cifar10_bins(tmp_path, NUM_RECORDS)
    data.prepare_dataset("cifar10", source=tmp_path, data_dir=tmp_path / "prepared")
    builder = import_tfds().builder("cifar10", data_dir=tmp_path / "prepared")
    assert builder.info.features["label"].names[:2] == ["airplane", "automobile"]
    source = builder.as_data_source("train")
    assert sorted(source[position]["id"].decode() for position in range(len(source))) == [
        f"train_{index:05d}" for index in range(5 * NUM_RECORDS)
    ]


def test_cifar10_is_prepared_from_the_archive(few_records, tmp_path, monkeypatch):
    originals = write_cifar10_bins(tmp_path / "cifar-10-batches-bin", NUM_RECORDS)
    archive = tmp_path / "source" / "cifar-10-binary.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "cifar-10-batches-bin", "cifar-10-batches-bin")
    with pytest.raises(InputError, match=r"is not the original .* expected c4a38c50a1bc\.\.\."):
        data.prepare_dataset("cifar10", source=archive.parent, data_dir=tmp_path / "prepared")
    assert not (tmp_path / "prepared").exists()
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    files = {archive.name: sources.RegisteredFile("http://localhost/", digest)}
    monkeypatch.setattr(sources, "registered_files", lambda name: files)
    data.prepare_dataset("cifar10", source=archive.parent, data_dir=tmp_path / "prepared")
    cifar10 = data.load_dataset("cifar10", data_dir=tmp_path / "prepared")
    assert sort_examples(cifar10.train_images, cifar10.train_labels) == originals["train"]


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-1])


def add_record(path):
    path.write_bytes(path.read_bytes() + bytes(3073))


def set_label(path):
    path.write_bytes(b"\x0a" + path.read_bytes()[1:])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_short, r"data_batch_3.bin has 61459 bytes, expected 61460 \(20 records of 3073\)"),
        (add_record, "data_batch_3.bin has 64533 bytes, expected 61460"),
        (set_label, "data_batch_3.bin has a label 10; allowed: 0 to 9"),
        (os.unlink, r"data_batch_3.bin cannot be read \(No such file or directory\)"),
    ],
)
def test_damaged_cifar10_file_is_refused(damage, message, few_records, tmp_path):
    write_cifar10_bins(tmp_path, NUM_RECORDS)
    damage(tmp_path / "data_batch_3.bin")
    with pytest.raises(InputError, match=message) as caught:
        data.prepare_dataset("cifar10", source=tmp_path, data_dir=tmp_path / "prepared")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "prepared").exists()


def test_cifar10_files_need_ten_thousand_records(tmp_path):
    write_cifar10_bins(tmp_path, NUM_RECORDS)
    with pytest.raises(InputError, match=r"expected 30730000 \(10000 records of 3073\)"):
        data.prepare_dataset("cifar10", source=tmp_path, data_dir=tmp_path / "prepared")


# Wrong input.


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_missing_originals_are_named(name, tmp_path):
    with pytest.raises(InputError) as caught:
        data.prepare_dataset(name, source=tmp_path / "absent", data_dir=tmp_path / "prepared")
    message = str(caught.value)
    assert message.startswith(f"--source: {tmp_path}/absent/")
    assert "cannot be read (No such file or directory)" in message
    for file_name in sources.registered_files(name):
        assert file_name in message
    assert "\n" not in message
    assert not (tmp_path / "prepared").exists()


def test_damaged_original_is_named_with_both_checksums(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for file_name in sources.registered_files("mnist"):
        (source / file_name).write_bytes(b"not the original")
    found = hashlib.sha256(b"not the original").hexdigest()[:12]
    with pytest.raises(InputError) as caught:
        data.prepare_dataset("mnist", source=source, data_dir=tmp_path / "prepared")
    assert f"its SHA-256 is {found}..., expected 8d422c7b0a1c..." in str(caught.value)
    assert "t10k-images-idx3-ubyte.gz is not the original" in str(caught.value)
    assert not (tmp_path / "prepared").exists()


@pytest.mark.parametrize("name", ["digits", "imagenet"])
def test_only_tfds_data_sets_are_prepared(name, tmp_path):
    with pytest.raises(InputError, match=f"prepare: '{name}' is not allowed; allowed: mnist, "):
        data.prepare_dataset(name, data_dir=tmp_path)


@pytest.mark.parametrize("name", write.NEEDS_TENSORFLOW)
def test_tensorflow_is_asked_for_where_it_is_needed(name, tmp_path, monkeypatch):
    monkeypatch.setattr(write.importlib.util, "find_spec", lambda module: None)
    with pytest.raises(InputError, match=f"prepare {name}: needs TensorFlow, .*phase-jax.prepare"):
        data.prepare_dataset(name, source=tmp_path, data_dir=tmp_path)


def test_incomplete_directory_is_not_touched(tmp_path):
    version = tmp_path / "mnist" / "3.0.1"
    version.mkdir(parents=True)
    (version / "precious").touch()
    with pytest.raises(InputError, match="remove it and prepare again"):
        data.prepare_dataset("mnist", source=tmp_path, data_dir=tmp_path)
    assert (version / "precious").exists()


# Failures while writing.


def test_unwritable_directory_is_one_line(few_records, tmp_path):
    write_cifar10_bins(tmp_path, NUM_RECORDS)
    (tmp_path / "file").touch()
    with pytest.raises(InputError) as caught:
        data.prepare_dataset("cifar10", source=tmp_path, data_dir=tmp_path / "file")
    assert str(caught.value) == (f"--data-dir: {tmp_path}/file cannot be written: Not a directory")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        RuntimeError("Failed to finalize:\nwrite() failed: No space left on device"),
    ],
)
def test_full_disk_is_one_line_and_leaves_nothing(error, few_records, tmp_path, monkeypatch):
    def fail(name, splits, root):
        (root / "partial").write_text("some bytes")
        raise error

    write_cifar10_bins(tmp_path, NUM_RECORDS)
    monkeypatch.setattr(prepare, "write_splits", fail)
    root = tmp_path / "prepared"
    with pytest.raises(InputError, match=r"cannot be written: .*No space left on device") as caught:
        data.prepare_dataset("cifar10", source=tmp_path, data_dir=root)
    assert "\n" not in str(caught.value)
    assert list(root.iterdir()) == []


def test_interrupted_prepare_leaves_nothing(few_records, tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    write_cifar10_bins(tmp_path, NUM_RECORDS)
    monkeypatch.setattr(prepare, "write_splits", interrupt)
    with pytest.raises(KeyboardInterrupt):
        data.prepare_dataset("cifar10", source=tmp_path, data_dir=tmp_path / "prepared")
    assert list((tmp_path / "prepared").iterdir()) == []


def test_killed_prepare_leaves_nothing_that_looks_prepared(few_records, tmp_path):
    write_cifar10_bins(tmp_path, NUM_RECORDS)
    root = tmp_path / "prepared"
    code = (
        "import sys, time\n"
        "import PIL.Image\n"
        "from phase_jax.data import prepare_dataset, sources\n"
        f"sources.CIFAR10_RECORDS_PER_FILE = {NUM_RECORDS}\n"
        "PIL.Image.fromarray = lambda image: time.sleep(60)\n"
        "prepare_dataset('cifar10', source=sys.argv[1], data_dir=sys.argv[2])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), str(root)], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    try:
        writing = root / ".incomplete-cifar10" / "content" / "cifar10"
        deadline = time.monotonic() + 60
        while not writing.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert writing.exists()
        with pytest.raises(InputError, match="another process is preparing cifar10"):
            data.prepare_dataset("cifar10", source=tmp_path, data_dir=root)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert writing.exists()
    with pytest.raises(InputError, match="nothing is prepared"):
        data.check_available("cifar10", root)
    data.prepare_dataset("cifar10", source=tmp_path, data_dir=root)
    assert [path.name for path in root.iterdir()] == ["cifar10"]
    assert len(data.load_dataset("cifar10", data_dir=root).train_labels) == 5 * NUM_RECORDS
