"""Where the transition shows: measures against what they are derived from, files, the page."""

from __future__ import annotations

import csv
import dataclasses
import json
import re

import numpy as np
import pytest
from made_results import OUTCOMES, make_result
from scipy import stats

from phase_jax import EpsilonStatus, LaneStatus, write_result
from phase_jax.cli import main
from phase_jax.report.document import convert_to_plain
from phase_jax.report.page import build_page
from phase_jax.report.transition import (
    MEASURES,
    FollowUps,
    assess_transition,
    list_transition,
)
from phase_jax.report.transition_plots import TITLES, draw_transition
from phase_jax.sweep.distance import measure_distances

RISES = [{"epsilon": 0.05, "train_rise": 0.02, "train_rise_error": 0.005}]
MEAN = {"value": 0.3, "low": 0.1, "high": 0.5, "num_pairs": 2}
SUMMARIES = [{"epsilon": 0.0, "barrier": MEAN}, {"epsilon": 0.1, "barrier": {**MEAN, "value": 1.0}}]


@pytest.fixture
def result():
    """Clean losses 0.1 and 0.2 that attacks raise by 0.3 and 0.5, and 0.4 and 0.4."""
    result = make_result()
    losses = np.array([[0.1, 0.2], [0.4, 0.7], [0.5, 0.6]])
    lanes = dataclasses.replace(
        result.lanes, clean_test_cross_entropy=losses, clean_test_accuracy=1 - losses
    )
    distances = np.array([[0.0, 0.0], [0.5, 0.7], [1.0, 1.0]])
    config = dataclasses.replace(result.config, epsilon_grid=(0.0, 0.05, 0.1), num_seeds=2)
    return dataclasses.replace(result, config=config, lanes=lanes, clean_distances=distances)


def follow(result, **documents):
    source = {**result.description, "config": dataclasses.asdict(result.config)}
    plain = convert_to_plain(source)
    return {kind: {"kind": kind, "source": plain, **rest} for kind, rest in documents.items()}


def test_differences_are_taken_seed_by_seed_with_student_intervals(result):
    found = assess_transition(result).measures
    rise = found["clean_loss_rise"][1]
    assert rise.value == pytest.approx(0.4)
    half = stats.t.ppf(0.975, 1) * 0.1  # the standard error of 0.3 and 0.5
    assert (rise.low, rise.high) == pytest.approx((0.4 - half, 0.4 + half))
    assert found["clean_accuracy_drop"][1].value == pytest.approx(0.4)
    assert found["train_loss_ratio"][1].value == pytest.approx(0.21 / 0.2)
    assert found["distance"][2] == (1.0, 1.0, 1.0, 2)
    assert found["unstable"][1].value == 0
    assert {"barrier", "audit_rise"}.isdisjoint(found)


def test_ratios_are_to_epsilon_star_where_it_has_a_value(result):
    np.testing.assert_allclose(assess_transition(result).ratios, [0, 1, 2])
    assert np.isnan(assess_transition(OUTCOMES["UNDEFINED"]).ratios).all()


def test_lanes_that_failed_do_not_count(result):
    status = np.array([[0, 0], [0, LaneStatus.COLLAPSED], [1, 1]])
    lanes = dataclasses.replace(result.lanes, status=status)
    found = assess_transition(dataclasses.replace(result, lanes=lanes)).measures
    assert found["clean_loss_rise"][1].value == pytest.approx(0.3)
    assert found["clean_loss_rise"][1].low is None
    assert found["clean_loss_rise"][2].value is None


def test_distances_are_relative_to_the_clean_lane_of_the_same_seed():
    params = {"a": np.array([[[3.0], [6.0]], [[3.0], [9.0]]]), "b": np.zeros((2, 2, 2))}
    params["a"] = np.concatenate([params["a"], [[[4.0], [6.0]], [[0.0], [0.0]]]], axis=-1)
    np.testing.assert_allclose(measure_distances(params), [[0, 0], [4 / 5, 45**0.5 / 72**0.5]])


def test_documents_of_what_followed_are_put_beside(result):
    documents = follow(result, audit={"rises": RISES}, connectivity={"summaries": SUMMARIES})
    found = assess_transition(result, FollowUps(**documents)).measures
    assert [mean.value for mean in found["barrier"]] == [0.3, None, 1.0]
    rise = found["audit_rise"][1]
    assert rise.high - rise.value == pytest.approx(1.96 * 0.005, rel=1e-3)


@pytest.mark.parametrize("name", ["found", "clean lane diverged", "lanes collapsed", "UNDEFINED"])
def test_every_outcome_has_rows_and_a_figure(name):
    transition = assess_transition(OUTCOMES[name])
    rows = list_transition(transition)
    assert len(rows) == 3 * len(transition.measures) > 0
    panels = [axes.get_title(loc="left") for axes in draw_transition(transition).axes]
    assert panels == [TITLES[measure] for measure in transition.known]
    assert transition.known.keys() <= MEASURES.keys()


def test_the_report_takes_an_audit_and_a_study_of_this_run_only(result, tmp_path, capsys):
    run = tmp_path / "run"
    write_result(result, run)
    given = follow(
        result,
        audit={"rises": RISES},
        connectivity={"summaries": SUMMARIES, "from_epsilon": 0.0},
    )
    for kind in given:
        (tmp_path / kind).mkdir()
    (tmp_path / "connectivity" / "planes.png").write_bytes(b"PNG")

    def report(name, **changes):
        (tmp_path / name / "result.json").write_text(json.dumps({**given[name], **changes}))
        status = main(["report", str(run), f"--{name}", str(tmp_path / name)])
        return status, capsys.readouterr().err

    assert report("audit") == (0, "")
    with (run / "transition.csv").open() as file:
        rows = {(row["measure"], row["epsilon"]): row["value"] for row in csv.DictReader(file)}
    assert (rows["audit_rise", "0.05"], rows["audit_rise", "0.0"]) == ("0.02", "")
    assert report("connectivity") == (0, "")
    page = (run / "report.html").read_text()
    assert "Where the transition shows" in page
    assert "data:image/png;base64,UE5H" in page
    source = given["audit"]["source"]
    config = {**source["config"], "seed": 7}
    for name, changes, named in (
        ("audit", {"kind": "study"}, "is not the result of an audit"),
        ("audit", {"source": {**source, "model": {}}}, "its model differs"),
        ("audit", {"source": {**source, "config": config}}, "other settings"),
        ("connectivity", {"from_epsilon": 0.1}, "starts at 0.1; allowed"),
    ):
        status, message = report(name, **changes)
        assert (status, message.count("\n")) == (2, 1)
        assert named in message
    for arguments, named in (
        ([str(run), "--audit", str(tmp_path)], "holds no result"),
        ([str(run), "another", "--audit", str(tmp_path)], "belongs to one run"),
    ):
        assert main(["report", *arguments]) == 2
        assert named in capsys.readouterr().err


def test_the_page_draws_every_known_measure(result):
    page = build_page(result)
    (text,) = re.findall(r'id="data">(.*?)</script>', page, re.S)
    drawn, known = json.loads(text)["transition"], assess_transition(result).known
    assert drawn.keys() == known.keys()
    rise = drawn["clean_loss_rise"]
    assert (rise["value"], rise["level"]) == (pytest.approx([0.0, 0.4, 0.4]), 0.0)
    assert rise["low"][1] == pytest.approx(known["clean_loss_rise"][1].low, rel=1e-3)
    assert page.count('id="measures"') == 1
    choices = page.split('name="measure"')[1].split("</select>")[0]
    assert re.findall(r'value="(\w+)"', choices) == list(known)


def test_the_page_says_so_where_epsilon_star_has_no_value():
    page = build_page(OUTCOMES[EpsilonStatus.INFINITE.name])
    assert "<td>-</td>" in page
