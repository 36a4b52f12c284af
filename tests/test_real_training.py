"""Real training of a residual network on CIFAR-10, as `configs/cifar10_narrow.py` describes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phase_jax.cli import main
from phase_jax.data import load_dataset
from phase_jax.types import InputError

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "cifar10_narrow.py"
CHANCE, NUM_TEST = 0.1, 1_000
CLEARLY = CHANCE + 5 * (CHANCE * (1 - CHANCE) / NUM_TEST) ** 0.5  # five standard errors above it


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["config", "trades", "mart"])
def test_narrow_network_learns(objective, tmp_path):
    try:
        load_dataset("cifar10", num_train=10)
    except InputError as error:
        pytest.skip(str(error))
    out = tmp_path / "run"
    assert main(["sweep", f"{CONFIG}:{objective}", "--out", str(out)]) == 0
    result = json.loads((out / "result.json").read_text())
    lanes = sorted(result["lanes"], key=lambda lane: lane["epsilon"])
    losses = [lane["train_loss"] for lane in lanes]
    assert losses == sorted(losses)
    assert all(lane["evaluated_test_accuracy"] > CLEARLY for lane in lanes)
    assert result["epsilon_star"]["status"] in ("FOUND", "UNDEFINED")
