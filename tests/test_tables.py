"""Results as data frames and as plain dicts of named arrays."""

from __future__ import annotations

import sys

import jax
import numpy as np
import pandas as pd
import pytest
from made_results import OUTCOMES, make_estimate, make_result

from phase_jax import Diagnosis, FineTuningConfig, InputError, run_monte_carlo
from phase_jax.finetune import Extrapolation, FineTuningResult
from phase_jax.report import build_document
from phase_jax.report.write import write_csv
from phase_jax.simulate.study import StudyResult


def make_tuning(run):
    """Build a fine-tuning by hand: one attack, two methods, one without a value."""
    extrapolations = tuple(
        Extrapolation(f"pgd_{method}", "pgd", method, estimate, (), None, None)
        for method, estimate in (
            ("regression", make_estimate()),
            ("isotonic", OUTCOMES["BEYOND_GRID"].epsilon_star),
        )
    )
    return FineTuningResult(
        run.config, FineTuningConfig(), {}, {"pgd": run}, extrapolations, {}, {}, (), {}, {}
    )


@pytest.mark.parametrize("name", OUTCOMES)
def test_the_frame_holds_what_the_file_holds(name, tmp_path):
    frame = OUTCOMES[name].to_dataframe()
    assert len(frame) == 6
    write_csv(tmp_path / "lanes.csv", build_document(OUTCOMES[name])["lanes"])
    pd.testing.assert_frame_equal(frame, pd.read_csv(tmp_path / "lanes.csv"), check_dtype=False)


def test_lanes_and_epochs_are_in_their_places():
    result = make_result()
    result.history["train_loss"][2, 1, 3] = 7.0
    history = result.to_dataframe("history").set_index(["epsilon", "seed", "epoch"])
    assert len(history) == 3 * 2 * 4
    assert history.train_loss[0.1, 1, 4] == 7.0
    assert history.test_loss[0.05, 1, 1] == result.history["test_loss"][1, 1, 0]
    lanes = result.to_dataframe().set_index(["epsilon", "seed"])
    assert lanes.train_loss[0.05, 1] == result.lanes.train_loss[1, 1]
    assert set(lanes.status) == {"OK"}


def check_arrays(described):
    """Check the form that `xarray.Dataset.from_dict` takes."""
    assert set(described) == {"dims", "coords", "data_vars", "attrs"}
    for name, coord in described["coords"].items():
        assert coord["dims"] == (name,)
    for variable in (described["coords"] | described["data_vars"]).values():
        lengths = tuple(described["dims"][axis] for axis in variable["dims"])
        assert variable["data"].shape == lengths
    assert all(isinstance(value, (str, float)) for value in described["attrs"].values())


@pytest.mark.parametrize("name", OUTCOMES)
def test_arrays_have_named_axes(name):
    result = OUTCOMES[name]
    described = result.to_dict()
    check_arrays(described)
    assert described["dims"] == {"epsilon": 3, "seed": 2, "epoch": 4, "example": 5}
    variables = described["data_vars"]
    np.testing.assert_array_equal(variables["train_loss"]["data"], result.lanes.train_loss)
    assert variables["history_train_loss"]["dims"] == ("epsilon", "seed", "epoch")
    assert described["attrs"]["epsilon_star_status"] == result.epsilon_star.status.name


def test_fine_tunings_and_diagnoses_convert():
    run = make_result()
    tuning = make_tuning(run)
    points = tuning.to_dataframe()
    assert list(points.attack) == ["pgd"] * 6
    methods = tuning.to_dataframe("extrapolations").set_index("method")
    assert methods.epsilon_star["regression"] == 0.05
    assert np.isnan(methods.epsilon_star["isotonic"])
    check_arrays(tuning.to_dict())
    swept, tuned = (Diagnosis(0.03, "", (), run, given) for given in (None, tuning))
    pd.testing.assert_frame_equal(swept.to_dataframe(), run.to_dataframe())
    pd.testing.assert_frame_equal(tuned.to_dataframe(), points)
    assert len(swept.to_dataframe("history")) == 24
    check_arrays(tuned.to_dict())


def test_monte_carlo_has_a_row_an_output():
    result = run_monte_carlo(
        lambda key: {"pair": jax.random.normal(key, (2,)), "one": jax.random.uniform(key)},
        jax.random.key(0),
        50,
        quantiles=(0.5,),
    )
    frame = result.to_dataframe().set_index("output")
    assert set(frame.index) == {"pair[0]", "pair[1]", "one"}
    assert frame["mean"]["pair[1]"] == result.summary["pair"].mean[1]
    error = result.summary["one"].quantile_standard_errors[0]
    assert frame["quantile_0.5_standard_error"]["one"] == error


def test_studies_give_their_rows():
    frame = StudyResult([{"a": 1.0}, {"b": 2.0}], {}, [], {}).to_dataframe()
    assert list(frame.columns) == ["a", "b"]
    assert np.isnan(frame.b[0])


def test_without_pandas_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"phase-jax\[pandas\]") as refusal:
        make_result().to_dataframe()
    assert "\n" not in str(refusal.value)


def test_other_tables_are_refused():
    with pytest.raises(InputError, match="table: 'epochs' is not known; allowed: lanes, history"):
        make_result().to_dataframe("epochs")
