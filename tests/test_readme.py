"""The README's examples run as they stand, and its numbers are those of the committed results."""

from __future__ import annotations

import json
import math
import pathlib
import re

import jax
import jax.numpy as jnp
import jsonschema
import numpy as np
import pytest

import phase_jax
from phase_jax import cross_entropy
from phase_jax.report.wording import format_epsilon

ROOT = pathlib.Path(phase_jax.__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
RESULTS = sorted((ROOT / "results").glob("*/result.json"))
SWEEPS = [
    path for path in RESULTS if json.loads(path.read_text(encoding="utf-8"))["kind"] == "sweep"
]


def test_the_readme_has_examples():
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize("place", range(len(EXAMPLES)))
def test_the_examples_run(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    weights = jnp.asarray(rng.normal(size=(16, 10)), jnp.float32)
    labels = rng.integers(0, 10, 80)
    images = rng.random((80, 4, 4, 1), np.float32)
    names = {
        "train_images": images,
        "train_labels": labels,
        "test_images": images[:20],
        "test_labels": labels[:20],
        "images": jnp.asarray(images),
        "key": jax.random.key(0),
        "loss_fn": lambda x: cross_entropy(x.reshape(len(x), -1) @ weights, jnp.asarray(labels)),
    }
    exec(EXAMPLES[place], names)
    if "replicate" in names:
        assert len([line for line in EXAMPLES[place].splitlines() if line]) <= 15
        star, undefined = (names["result"].summary[name] for name in ("epsilon_star", "undefined"))
        assert star.num_finite == 500 * (1 - undefined.mean)
        assert 0.05 < star.mean < 0.3
    elif "result" in names:
        assert (tmp_path / "runs" / "mine" / "result.json").exists()
        assert capsys.readouterr().out
    else:
        assert names["adversarial"].shape == images.shape


def test_the_solver_example_prints_what_the_readme_says():
    solution = phase_jax.solve_epsilon_star(
        [0, 1, 2, 8], [0.0403, 0.1586, 0.2199, 1.2186], threshold=0.441
    )
    stated = float(re.search(r"EpsilonStar\(value=([\d.]+)\.\.\.", README)[1])
    assert solution.value == pytest.approx(stated, abs=1e-3)


def test_there_are_committed_results():
    assert {path.parent.name for path in RESULTS} >= {"digits", "mnist"}


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.parent.name)
def test_committed_results_fit_the_schema_and_their_own_solver(path):
    document = json.loads(path.read_text(encoding="utf-8"))
    schema = ROOT / "phase_jax" / "report" / "schema" / "result-v1.json"
    jsonschema.validate(document, json.loads(schema.read_text(encoding="utf-8")))
    epsilons = sorted({lane["epsilon"] for lane in document["lanes"]})
    for s, seed in enumerate(document["epsilon_star"]["seeds"]):
        lanes = [lane for lane in document["lanes"] if lane["seed"] == s]
        losses = [lane["train_loss"] if lane["status"] == "OK" else math.nan for lane in lanes]
        threshold = document["threshold"]["per_seed"][s]
        again = phase_jax.solve_epsilon_star(epsilons, losses, threshold)
        assert again.status.name == seed["status"]
        value = math.nan if seed["value"] is None else seed["value"]
        assert again.value == pytest.approx(value, rel=1e-4, nan_ok=True)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.parent.name)
def test_the_readme_states_the_committed_values(path):
    star = json.loads(path.read_text(encoding="utf-8"))["epsilon_star"]
    (row,) = (
        line for line in README.splitlines() if f"(results/{path.parent.name}/result.json)" in line
    )
    if star["status"] != "FOUND":
        assert star["status"] in row
        return
    for end in ("value", "low", "high"):
        assert format_epsilon(star[end]) in row
