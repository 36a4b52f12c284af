"""A run's directory read back: equal to what was written, and one line for whatever is wrong."""

from __future__ import annotations

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from small_problem import small_config, small_digits

from phase_jax import (
    InputError,
    SweepConfig,
    cross_entropy,
    load_run,
    run_sweep,
    write_result,
)
from phase_jax.cli import main
from phase_jax.config_file import rebuild_config
from phase_jax.report import build_document
from phase_jax.report.document import convert_to_plain


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Train a little with a loss of one's own: such a result has every part."""

    def half_cross_entropy(logits, labels):
        return 0.5 * cross_entropy(logits, labels)

    config = small_config(
        epsilon_grid=(0.02,),
        training={"num_epochs": 1},
        attack={"num_steps": 1},
        evaluation={"num_steps": 1},
        target_epsilon=0.1,
    )
    result = run_sweep(config, data=small_digits(), objective=half_cross_entropy)
    path = tmp_path_factory.mktemp("read") / "run"
    write_result(result, path)
    return result, path


@pytest.fixture
def copy(written, tmp_path):
    return shutil.copytree(written[1], tmp_path / "run")


def edit_document(path, **changes):
    document = json.loads((path / "result.json").read_text())
    (path / "result.json").write_text(json.dumps({**document, **changes}))


def assert_same(left, right):
    """Hold two trees of dataclasses, dicts, tuples and arrays to equal bits."""
    left, right = (
        {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        if dataclasses.is_dataclass(value)
        else value
        for value in (left, right)
    )
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for name in left:
            assert_same(left[name], right[name])
    elif isinstance(left, tuple):
        assert len(left) == len(right)
        for pair in zip(left, right, strict=True):
            assert_same(*pair)
    else:
        np.testing.assert_array_equal(left, right)
        assert np.asarray(left).dtype == np.asarray(right).dtype


def test_what_is_read_is_what_was_written(written):
    result, path = written
    loaded = load_run(path)
    assert loaded.cross_entropy is not None
    assert loaded.adversarial is not None
    assert_same(loaded, result)
    assert build_document(loaded) == build_document(result)


def test_a_run_read_back_can_be_written_again(written, tmp_path):
    write_result(load_run(written[1]), tmp_path / "again")
    for name in ("result.json", "lanes.csv", "loss_curve.svg", "adversarial.npz", "report.html"):
        assert (tmp_path / "again" / name).read_bytes() == (written[1] / name).read_bytes()


def test_the_page_is_built_again_from_the_directory_without_its_parameters(written, copy):
    (copy / "report.html").unlink()
    shutil.rmtree(copy / "parameters")
    assert main(["report", str(copy)]) == 0
    assert (copy / "report.html").read_bytes() == (written[1] / "report.html").read_bytes()


def test_parameters_have_the_lanes_in_front(written):
    loaded = load_run(written[1])
    for leaf in jax.tree.leaves(loaded.params):
        assert isinstance(leaf, np.ndarray)
        assert leaf.shape[:2] == (2, 2)


def test_a_configuration_comes_back_from_plain_data():
    config = small_config(attack={"norm": "l2"}, target_epsilon=0.5)
    assert rebuild_config(json.loads(json.dumps(convert_to_plain(dataclasses.asdict(config))))) == (
        config
    )
    assert rebuild_config({}) == SweepConfig()


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda path: shutil.rmtree(path), "is no directory"),
        (lambda path: (path / "result.json").unlink(), "holds no finished run"),
        (lambda path: (path / "result.json").write_text("{"), "is not the result of a sweep"),
        (lambda path: edit_document(path, kind="study"), "is not the result of a sweep"),
        (lambda path: edit_document(path, schema_version=2), "schema version 2; allowed: 1"),
        (lambda path: edit_document(path, lanes=[]), "does not fit together"),
        (lambda path: edit_document(path, config={"magic": 1}), "'magic' is not known"),
        (lambda path: edit_document(path, config={"num_seeds": 0}), "--seeds: 0"),
        (lambda path: edit_document(path, config={"num_seeds": 3}), "lanes"),
        (lambda path: edit_document(path, epsilon_star=None), "does not fit together"),
        (lambda path: (path / "history.npz").unlink(), "history.npz' is missing"),
        (lambda path: (path / "examples.npz").write_bytes(b"PK"), "examples.npz' is damaged"),
        (lambda path: shutil.rmtree(path / "parameters"), "parameters' is missing"),
        (lambda path: shutil.rmtree(path / "parameters" / "state"), "parameters' is damaged"),
    ],
)
def test_what_cannot_be_read_is_one_line(copy, damage, named):
    damage(copy)
    with pytest.raises(InputError, match=named) as caught:
        load_run(copy, field="--from")
    assert str(caught.value).startswith("--from: ")
    assert "\n" not in str(caught.value)
