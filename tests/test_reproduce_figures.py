"""Figures 4 and 5: what they run, in which order, and the numbers that stand for them."""

from __future__ import annotations

import dataclasses
import json

import pytest
from scipy import stats
from test_reproduce_finetune import describe_star, reproduce, write

from phase_jax.connectivity import session as connectivity_session
from phase_jax.report import read as report_read
from phase_jax.report import session as report_session
from phase_jax.report.document import convert_to_plain
from phase_jax.reproduce import session as reproduce_session
from phase_jax.reproduce.catalogue import load_setting
from phase_jax.reproduce.cost import estimate_connection_hours

FIFTY = "cifar10-preactresnet18-50k-linf"
RATIOS = [(0.0, 1.1, 0.1), (0.5, 1.5, None), (1.0, None, None)]
BARRIERS = [(0.5, 0.1), (2.0, 0.3), (8.0, None)]


@pytest.fixture
def ran(monkeypatch):
    """Replace training by made-up results; collects what ran, in order."""
    ran = []

    def sweep(config, out, options):
        ran.append((out.name, config.num_seeds))
        fields = ("epsilon", "ratio", "standard_error")
        ratios = [dict(zip(fields, (e / 255, *rest), strict=True)) for e, *rest in RATIOS]
        star = {**describe_star(2.0), "seeds": [{}, {}, {}]}
        write(out, config, "sweep", overfitting={"final_ratios": ratios}, epsilon_star=star)

    def connect(run, settings, out, options, *, data_dir):
        ran.append((out.name, run, settings.num_points, settings.to_epsilons))
        summaries = [
            {"epsilon": e / 255, "barrier": {"value": value, "low": None, "high": None}}
            for e, value in BARRIERS
        ]
        config = load_setting(FIFTY, quick=settings.num_points < 61)
        source = {"config": convert_to_plain(dataclasses.asdict(config))}
        write(out, config, "connectivity", summaries=summaries, source=source)

    monkeypatch.setattr(report_session, "run_and_report", sweep)
    monkeypatch.setattr(connectivity_session, "connect_and_report", connect)
    monkeypatch.setattr(report_read, "load_run", lambda path, field: f"lanes of {path.name}")
    monkeypatch.setattr(reproduce_session, "check_available", lambda name, data_dir: None)
    return ran


def read_entries(path):
    entries = json.loads(path.read_text())["entries"]
    return {entry["epsilon_255"]: entry for entry in entries}


def test_figure_4_connects_the_networks_of_its_sweep(ran, tmp_path, capsys):
    assert reproduce(tmp_path, "figure4") == 0
    strengths = pytest.approx((0, 0.5 / 255, 2 / 255, 8 / 255))
    assert ran == [(FIFTY, 1), (f"{FIFTY}-connectivity", f"lanes of {FIFTY}", 61, strengths)]
    entries = read_entries(tmp_path / "figure4.json")
    assert [entries[e]["value"] for e in (0, 0.5, 2, 8)] == [None, 0.1, 0.3, None]
    assert "made up" in entries[0]["notes"][0]
    assert "barrier" in capsys.readouterr().out
    assert reproduce(tmp_path, "figure4") == 0
    assert len(ran) == 2  # what is there is not run again


def test_the_quick_figure_4_measures_fewer_points(ran, tmp_path):
    assert reproduce(tmp_path, "figure4", "--quick") == 0
    assert [place for place, *_ in ran] == [f"{FIFTY}-quick", f"{FIFTY}-connectivity-quick"]
    assert ran[1][2] == 13


def test_figure_5_reads_the_growth_of_the_gap_off_the_sweep(ran, tmp_path):
    assert reproduce(tmp_path, "figure5") == 0
    assert [place for place, *_ in ran] == [FIFTY]
    entries = read_entries(tmp_path / "figure5.json")
    assert [entries[e]["value"] for e in (0, 0.5, 1)] == [1.1, 1.5, None]
    half = stats.t.ppf(0.975, 2) * 0.1
    assert (entries[0]["low"], entries[0]["high"]) == pytest.approx((1.1 - half, 1.1 + half))
    assert entries[0.5]["low"] is None


def test_without_runs_the_figures_are_missing(tmp_path, capsys):
    assert reproduce(tmp_path, "figure4", "--collect") == 0
    assert reproduce(tmp_path, "figure5", "--collect") == 0
    statuses = {entry["status"] for entry in read_entries(tmp_path / "figure4.json").values()}
    assert statuses == {"missing"}
    assert reproduce(tmp_path, "list") == 0
    assert f"{FIFTY}-connectivity" in capsys.readouterr().out


def test_the_cost_of_connecting_counts_every_network():
    config = load_setting(FIFTY)
    hours = estimate_connection_hours(config, 4)
    networks = 61 + 61 + 441 + 3
    passes = 200 * 50_000 * 3 + networks * (2 * 50_000 + 10_000)
    assert hours == pytest.approx(4 * passes * 1.11e9 / 6e13 / 3600)
