"""Tables 4 and B.7: fine-tunings are run after their sweeps, read, and set beside the paper."""

from __future__ import annotations

import dataclasses
import json

import pytest
from prepared_data import draw_originals, write_fake

from phase_jax.cli import main
from phase_jax.finetune import session as finetune_session
from phase_jax.report import read as report_read
from phase_jax.report import session as report_session
from phase_jax.report.document import convert_to_plain
from phase_jax.reproduce import catalogue
from phase_jax.reproduce import session as reproduce_session
from phase_jax.reproduce.registry import FINE_TUNED

TEN = "cifar10-preactresnet18-10k-linf"
STARS = {"pgd_1": 4.0, "pgd_3": 3.0, "fgm_1": 2.0, "fgm_3": None}


def write(path, config, kind, **fields):
    """Write what a run leaves, made up; attack strengths in 1/255."""
    document = {
        "schema_version": 1,
        "kind": kind,
        "cautions": ["made up"],
        "epsilon_star": describe_star(2.0),
        "lanes": [],
        "config": convert_to_plain(dataclasses.asdict(config)),
        **dict.fromkeys(("versions", "device", "revision", "seconds")),
        **fields,
    }
    path.mkdir(parents=True, exist_ok=True)
    (path / "result.json").write_text(json.dumps(document))


def describe_star(value):
    found = {"value": value and value / 255, "low": value and value / 300, "high": None}
    return {**found, "status": "FOUND" if value else "BEYOND_GRID"}


@pytest.fixture
def ran(monkeypatch):
    """Replace training by made-up results; collects what was trained, in order."""
    ran = []

    def sweep(config, out, options):
        ran.append((out.name, None))
        write(out, config, "sweep")

    def fine_tune(config, fine_tuning, clean, source, out, options):
        ran.append((out.name, clean))
        extrapolations = [{"name": name, **describe_star(value)} for name, value in STARS.items()]
        tuned = convert_to_plain(dataclasses.asdict(fine_tuning))
        write(out, config, "fine_tuning", extrapolations=extrapolations, fine_tuning=tuned)

    monkeypatch.setattr(report_session, "run_and_report", sweep)
    monkeypatch.setattr(finetune_session, "run_and_report_fine_tuning", fine_tune)
    monkeypatch.setattr(report_read, "load_run", lambda path, field: f"clean lanes of {path.name}")
    monkeypatch.setattr(reproduce_session, "check_available", lambda name, data_dir: None)
    return ran


def reproduce(out, *arguments):
    return main(["reproduce", *arguments, "--out", str(out)])


def read_entries(path):
    entries = json.loads(path.read_text())["entries"]
    return {entry["quantity"]: entry for entry in entries if entry["row"] == TEN}


def test_fine_tuning_starts_from_the_clean_lanes_of_its_sweep(ran, tmp_path, capsys):
    assert reproduce(tmp_path, "table4", "--rows", TEN) == 0
    assert ran == [(TEN, None), (f"{TEN}-finetune", f"clean lanes of {TEN}")]
    assert "2 settings to run" in capsys.readouterr().out
    entries = read_entries(tmp_path / "table4.json")
    for name, printed in (("pgd_1", 4.7), ("pgd_3", 2.5), ("fgm_1", 1.7)):
        entry = entries[f"epsilon_star_finetune_{name}"]
        assert (entry["published"], entry["status"]) == (printed, "FOUND")
        assert entry["value"] == pytest.approx(STARS[name])
        assert entry["difference"] == pytest.approx(STARS[name] - printed)
        assert entry["notes"] == ["made up"]
    entry = entries["epsilon_star_finetune_fgm_3"]
    assert (entry["value"], entry["status"]) == (None, "BEYOND_GRID")
    assert entries["epsilon_star"]["value"] == pytest.approx(2.0)
    assert reproduce(tmp_path, "table4", "--rows", TEN) == 0
    assert len(ran) == 2  # they were there


def test_without_a_sweep_the_clean_model_is_trained(ran, tmp_path):
    assert reproduce(tmp_path, "tableb7", "--rows", TEN) == 0
    assert ran == [(f"{TEN}-finetune", None)]


def test_another_fine_tuning_than_the_papers_is_named(ran, tmp_path):
    assert reproduce(tmp_path, "tableb7", "--rows", TEN) == 0
    path = tmp_path / f"{TEN}-finetune" / "result.json"
    document = json.loads(path.read_text())
    document["fine_tuning"]["num_epochs"] = 3
    document["extrapolations"] = document["extrapolations"][1:]
    path.write_text(json.dumps(document))
    assert reproduce(tmp_path, "tableb7", "--collect", "--rows", TEN) == 0
    entries = read_entries(tmp_path / "tableb7.json")
    notes = entries["epsilon_star_finetune_pgd_3"]["notes"]
    assert notes[0] == "run with num_epochs = 3, not 40"
    assert not any(note.startswith("fgm: ") for note in notes)
    missing = entries["epsilon_star_finetune_pgd_1"]
    assert (missing["value"], missing["notes"]) == (None, ["the fine-tuning has no pgd_1"])


@pytest.mark.parametrize("setting", FINE_TUNED)
def test_every_fine_tuned_row_says_what_the_paper_fine_tunes(setting):
    tuning = catalogue.load_fine_tuning(setting)
    printed = (5, 10, 15) if setting.endswith("l2") else (0.25, 0.5, 1)
    assert tuning.epsilons == pytest.approx([epsilon / 255 for epsilon in printed])
    assert (tuning.num_epochs, tuning.attacks, tuning.sequential) == (40, ("pgd", "fgm"), False)
    assert catalogue.load_fine_tuning(setting, quick=True).num_epochs < 10


@pytest.mark.slow
def test_a_quick_fine_tuning_runs_for_real(tmp_path):
    """BatchNorm statistics start from the clean model as parameters do."""
    shape = (32, 32, 3)
    splits = {"train": draw_originals(500, shape, 10, 0), "test": draw_originals(250, shape, 10, 1)}
    write_fake("cifar10", "3.0.2", splits, tmp_path / "data", num_classes=10)
    flags = ["--rows", TEN, "--quick", "--data-dir", str(tmp_path / "data")]
    assert reproduce(tmp_path / "out", "tableb7", *flags, "--no-compilation-cache") == 0
    entries = read_entries(tmp_path / "out" / "tableb7-quick.json")
    assert len(entries) == 4
    assert all(entry["status"] != "missing" for entry in entries.values())
