"""Tables from runs: what is run, found, compared, missing; and quick variants for real."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
from prepared_data import draw_originals, write_fake

from phase_jax.cli import main
from phase_jax.report import session as report_session
from phase_jax.report.document import convert_to_plain
from phase_jax.reproduce import catalogue, paper
from phase_jax.reproduce import session as reproduce_session
from phase_jax.reproduce.runs import find_differences, read_run
from phase_jax.simulate import session as simulate_session
from phase_jax.types import InputError

TEN, FIFTY = (f"cifar10-preactresnet18-{size}-linf" for size in ("10k", "50k"))
MNIST = "mnist-cnn16-50k-linf"
TRADES = f"{FIFTY}-trades"


def describe_star(value, status="FOUND"):
    """Build an estimate as result.json has it; `value` in 1/255."""
    value = None if value is None else value / 255
    ends = (None, None) if value is None else (0.9 * value, 1.2 * value)
    return {"value": value, "status": status, "low": ends[0], "high": ends[1]}


def describe_lane(epsilon, seed, **changes):
    """Build a lane as result.json has it; losses rise with the seed."""
    fields = ("train_loss", "train_accuracy", "evaluated_test_loss", "evaluated_test_accuracy")
    values = {name: 0.1 * place + 0.01 * seed for place, name in enumerate(fields, start=1)}
    fixed = {"epsilon": epsilon, "seed": seed, "status": "OK", "selected_epoch": 101}
    return {**fixed, **values, **changes}


def write_run(config, out, *, star=None, lanes=None, accuracies=None, **extra):
    """Write what a sweep leaves, made up."""
    out.mkdir(parents=True, exist_ok=True)
    seeds = range(config.num_seeds)
    document = {
        "schema_version": 1,
        "kind": "sweep",
        "cautions": [],
        "epsilon_star": star or describe_star(2.0),
        "lanes": lanes or [describe_lane(e, s) for e in config.epsilons for s in seeds],
        "config": convert_to_plain(dataclasses.asdict(config)),
        "versions": {},
        "device": {},
        "revision": None,
        "seconds": {},
        **extra,
    }
    (out / "result.json").write_text(json.dumps(document))
    if accuracies is not None:
        history = np.stack([np.full(len(accuracies), 0.5), accuracies], axis=1)[:, None]
        np.savez(out / "history.npz", epsilons=np.array(config.epsilons), test_accuracy=history)


@pytest.fixture
def ran(monkeypatch):
    """Replace training by made-up results; collects what was trained, and where."""
    ran = []

    def run_and_report(config, out, options):
        ran.append((config, out, options.use_cache))
        write_run(config, out)
        return 0

    monkeypatch.setattr(report_session, "run_and_report", run_and_report)
    monkeypatch.setattr(reproduce_session, "check_available", lambda name, data_dir: None)
    return ran


def reproduce(out, *arguments):
    return main(["reproduce", *arguments, "--out", str(out)])


def read_entries(path):
    entries = json.loads(path.read_text())["entries"]
    return {(entry["row"], entry["quantity"], entry["epsilon_255"]): entry for entry in entries}


def test_rows_are_run_once_and_shown_beside_the_paper(ran, tmp_path, capsys):
    flags = ["table3", "--rows", f"{TEN},{MNIST}", "--seeds", "2", "--no-compilation-cache"]
    assert reproduce(tmp_path, *flags, "--data-dir", "/elsewhere") == 0
    assert [out.name for _, out, _ in ran] == [TEN, MNIST]
    for config, _, use_cache in ran:
        assert config.num_seeds == 2
        assert config.data.data_dir == "/elsewhere"
        assert use_cache is False
    assert "2 settings to run" in capsys.readouterr().out
    entries = read_entries(tmp_path / "table3.json")
    assert len(entries) == 2
    entry = entries[TEN, "epsilon_star", None]
    assert (entry["published"], entry["status"], entry["notes"]) == (3.3, "FOUND", [])
    assert entry["value"] == pytest.approx(2.0)
    assert entry["difference"] == pytest.approx(-1.3)
    assert (entry["low"], entry["high"]) == pytest.approx((1.8, 2.4))
    assert (
        f"| {TEN} | ε* | 3.3 | 2 | 1.8 to 2.4 | -1.3 | FOUND |"
        in (tmp_path / "table3.md").read_text()
    )
    assert reproduce(tmp_path, *flags) == 0
    assert len(ran) == 2  # they were there


def test_what_is_missing_stays_missing(tmp_path):
    write_run(catalogue.load_setting(TEN), tmp_path / TEN)
    assert reproduce(tmp_path, "table3", "--collect") == 0
    entries = read_entries(tmp_path / "table3.json")
    for (row, _, _), entry in entries.items():
        if row == TEN:
            assert entry["status"] == "FOUND"
        else:
            assert entry["status"] == "missing"
            assert entry["published"] is not None
            assert entry["value"] is entry["low"] is entry["high"] is entry["difference"] is None


def test_rows_without_data_are_passed_over_and_say_so(ran, tmp_path, monkeypatch):
    def check_available(name, data_dir):
        if name != "mnist":
            raise InputError(f"--dataset {name}: nothing is prepared")

    monkeypatch.setattr(reproduce_session, "check_available", check_available)
    assert reproduce(tmp_path, "table3", "--quick") == 0
    assert {out.name for _, out, _ in ran} == {f"mnist-cnn{h}-50k-linf-quick" for h in (16, 128)}
    entries = read_entries(tmp_path / "table3-quick.json")
    assert "nothing is prepared" in entries[TEN, "epsilon_star", None]["notes"][0]


def test_quick_results_are_kept_apart_and_never_compared(ran, tmp_path, capsys):
    assert reproduce(tmp_path, "table1", "--quick") == 0
    ((config, out, _),) = ran
    assert out.name == f"{FIFTY}-quick"
    assert config.model.name == "preactresnet10"
    assert "QUICK VARIANTS" in capsys.readouterr().out
    assert "QUICK VARIANTS" in (tmp_path / "table1-quick.md").read_text()
    entries = read_entries(tmp_path / "table1-quick.json")
    assert all(entry["difference"] is None for entry in entries.values())
    assert reproduce(tmp_path, "table1", "--collect") == 0
    assert read_entries(tmp_path / "table1.json")[FIFTY, "epsilon_star", None]["value"] is None


def test_lanes_are_averaged_over_seeds_with_an_interval(tmp_path, capsys):
    config = dataclasses.replace(catalogue.load_setting(FIFTY), num_seeds=3)
    lanes = [describe_lane(e, s) for e in config.epsilons for s in range(3)]
    lanes[3]["status"] = "DIVERGED"  # 0.5/255, seed 0
    for lane in lanes[6:9]:
        lane["status"] = "COLLAPSED"  # 1/255
    write_run(config, tmp_path / FIFTY, lanes=lanes)
    assert reproduce(tmp_path, "table1", "--collect") == 0
    entries = read_entries(tmp_path / "table1.json")
    clean = entries[FIFTY, "train_loss", 0]
    half = 4.302653 * 0.01 / 3**0.5  # Student t, 2 degrees of freedom
    assert clean["value"] == pytest.approx(0.11)
    assert (clean["low"], clean["high"]) == pytest.approx((0.11 - half, 0.11 + half))
    assert clean["difference"] == pytest.approx(0.11 - 0.0761)
    lost = entries[FIFTY, "test_loss", 0.5]
    assert lost["value"] == pytest.approx(0.315)
    assert lost["notes"] == ["1 of 3 lanes diverged or collapsed"]
    assert entries[FIFTY, "train_loss", 1]["status"] == "no usable lane"
    assert entries[FIFTY, "train_loss", 1]["value"] is None
    assert entries[FIFTY, "selected_epoch", 2]["published"] == 102
    assert {key[2] for key in entries} == {None, 0, 0.5, 1, 2}  # Table 1 prints no more
    text = (tmp_path / "table1.md").read_text()
    assert "| 0 | train loss | 0.0761 | 0.11 | 0.08516 to 0.1348 | +0.0339 | OK |" in text
    assert "1 of 3 lanes diverged or collapsed" in capsys.readouterr().out


def test_a_run_that_differs_from_its_setting_is_named(tmp_path):
    config = catalogue.load_setting(TEN)
    training = dataclasses.replace(config.training, num_epochs=20)
    write_run(dataclasses.replace(config, training=training, seed=5), tmp_path / TEN)
    assert reproduce(tmp_path, "table2", "--rows", TEN, "--collect") == 0
    notes = read_entries(tmp_path / "table2.json")[TEN, "epsilon_star", None]["notes"]
    assert notes == ["run with training.num_epochs = 20, not 200"]


def test_automatic_choices_are_no_differences():
    config = catalogue.load_setting(TEN)
    found = convert_to_plain(dataclasses.asdict(config))
    found["epsilon_grid"] = [0.0, *found["epsilon_grid"]]
    found["data"] |= {"num_test": 10_000, "data_dir": "/elsewhere"}
    found["lanes"]["width"] = 4
    found["model"]["conv_form"] = "lax"
    assert find_differences(config, found) == ()
    found["epsilon_grid"] = [0.0, 8 / 255]
    (difference,) = find_differences(config, found)
    assert "epsilon_grid" in difference


def test_both_readings_of_another_objective_are_shown(tmp_path):
    cross_entropy = {"epsilon_star": describe_star(1.5)}
    config = catalogue.load_setting(TRADES)
    lanes = [describe_lane(e, 0, evaluated_test_cross_entropy=0.9) for e in config.epsilons]
    write_run(
        config,
        tmp_path / TRADES,
        star=describe_star(None, "UNDEFINED"),
        lanes=lanes,
        cross_entropy=cross_entropy,
    )
    assert reproduce(tmp_path, "tableb5", "--rows", TRADES, "--collect") == 0
    entries = read_entries(tmp_path / "tableb5.json")
    own = entries[TRADES, "epsilon_star", None]
    assert (own["status"], own["value"], own["published"]) == ("UNDEFINED", None, 0.7)
    other = entries[TRADES, "epsilon_star_cross_entropy", None]
    assert other["value"] == pytest.approx(1.5)
    assert other["published"] is None
    assert entries[TRADES, "test_loss", 1]["value"] == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("last", "expected"),
    [([0.9, 0.7, 0.6, 0.5, 0.4, 0.01, 0.0, 0.0, 0.0], 12.0), ([0.5] * 9, None), (None, None)],
)
def test_the_first_unstable_strength_is_read_off_the_last_epoch(last, expected, tmp_path):
    setting = f"{TEN}-fgm"
    write_run(catalogue.load_setting(setting), tmp_path / setting, accuracies=last)
    assert reproduce(tmp_path, "table2", "--collect") == 0
    entry = read_entries(tmp_path / "table2.json")[TEN, "unstable_epsilon", None]
    assert entry["published"] == 12
    assert entry["value"] == expected
    outcome = {None: "missing", False: "BEYOND_GRID", True: "FOUND"}
    assert entry["status"] == outcome[None if last is None else expected is not None]


@pytest.mark.parametrize("text", ["", "[1]", '{"kind": "study"}'])
def test_a_file_that_is_no_result_is_one_line(text, tmp_path, capsys):
    (tmp_path / TEN).mkdir()
    (tmp_path / TEN / "result.json").write_text(text)
    assert reproduce(tmp_path, "table2", "--collect") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "is not the result of a sweep" in error


def test_an_interrupted_run_leaves_no_empty_directory_and_keeps_the_others(
    ran, tmp_path, monkeypatch
):
    def stop(config, out, options):
        raise KeyboardInterrupt

    write_run(catalogue.load_setting(TEN), tmp_path / TEN)
    monkeypatch.setattr(report_session, "run_and_report", stop)
    assert reproduce(tmp_path, "tableb2") == 130
    assert [path.name for path in tmp_path.iterdir()] == [TEN]


def test_figures_of_the_linear_model_are_studies(tmp_path, monkeypatch, capsys):
    started = []

    def run_study(settings, out, *, use_cache):
        started.append(settings)
        document = {"kind": "study", "findings": ["it holds"], "figures": ["curve"]}
        (out / f"{settings.study}.json").write_text(json.dumps(document))
        return 0

    monkeypatch.setattr(simulate_session, "run_study", run_study)
    assert reproduce(tmp_path, "figure2", "--quick") == 0
    assert [(settings.study, settings.full) for settings in started] == [
        ("trajectory", False),
        ("parameter-test", False),
    ]
    assert "- parameter-test: it holds" in capsys.readouterr().out
    document = json.loads((tmp_path / "figure2-quick.json").read_text())
    assert document["sources"]["trajectory"]["figures"] == ["curve"]
    assert reproduce(tmp_path, "figure2", "--quick") == 0
    assert len(started) == 2
    assert reproduce(tmp_path, "figure2", "--rows", "trajectory") == 0
    assert [settings.full for settings in started[2:]] == [True]


def test_table_b1_is_read_off_the_study(tmp_path):
    assert reproduce(tmp_path, "tableb1", "--collect") == 0
    entries = read_entries(tmp_path / "tableb1.json")
    assert {entry["status"] for entry in entries.values()} == {"missing"}
    share = {"value": 0.25, "low": 0.2, "high": 0.3}
    star = {"median": {"value": 0.03, "low": 0.02, "high": 0.04}}
    star |= {f"share_{name}": share for name in ("undefined", "infinite", "failed")}
    facts = [
        {"n": n, "d": d, "loss_star": star, "trajectory_star": star}
        for n, d, _ in paper.list_regimes()
    ]
    document = {"kind": "study", "findings": [], "figures": [], "summary": {"settings": facts}}
    (tmp_path / "trajectory").mkdir()
    (tmp_path / "trajectory" / "trajectory.json").write_text(json.dumps(document))
    assert reproduce(tmp_path, "tableb1", "--collect") == 0
    entry = read_entries(tmp_path / "tableb1.json")["n=1000, d=20", "epsilon_star", None]
    assert (entry["published"], entry["value"], entry["unit"]) == (0.02, 0.03, "")
    assert entry["difference"] == pytest.approx(0.01)
    assert "undefined in 25%" in entry["notes"][1]


QUICK_RUNS = {
    MNIST: ("table3", "mnist", "3.0.1", (28, 28, 1)),
    TRADES: ("tableb5", "cifar10", "3.0.2", (32, 32, 3)),
    "cifar10-wideresnet34-1-50k-linf": ("tableb4", "cifar10", "3.0.2", (32, 32, 3)),
}


@pytest.mark.slow
@pytest.mark.parametrize("setting", QUICK_RUNS)
def test_a_quick_variant_runs_for_real(setting, tmp_path):
    item, name, version, shape = QUICK_RUNS[setting]
    splits = {
        "train": draw_originals(500, shape, 10, 0),
        "test": draw_originals(250, shape, 10, 1),
    }
    write_fake(name, version, splits, tmp_path / "data", num_classes=10)
    out = tmp_path / "out"
    flags = ["--rows", setting, "--quick", "--data-dir", str(tmp_path / "data")]
    assert reproduce(out, item, *flags, "--no-compilation-cache") == 0
    run = read_run(out, setting, quick=True)
    assert run.differences == ()
    num_lanes = len(catalogue.load_setting(setting).epsilons)
    assert len(run.document["lanes"]) == num_lanes
    with (out / f"{item}-quick.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["row"] == setting]
    assert rows
    assert all(row["status"] != "missing" for row in rows)
