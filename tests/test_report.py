"""Words, schema and plots of a result, for every way a sweep can end."""

from __future__ import annotations

import dataclasses
import errno
import importlib.resources
import io
import json
import math

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import jax
import jsonschema
import matplotlib.image
import numpy as np
import pytest
from made_results import OUTCOMES, make_estimate, make_result
from rich.console import Console

from phase_jax import EpsilonStatus
from phase_jax.config import SOLVER_METHODS
from phase_jax.environment import enable_compilation_cache
from phase_jax.report import build_document, write_result
from phase_jax.report.console import ProgressDisplay, format_seconds
from phase_jax.report.plots import draw_learning_curves, draw_loss_curve
from phase_jax.report.wording import compare_target, describe_outcome, format_epsilon
from phase_jax.solver import estimate_epsilon_star
from phase_jax.sweep import SweepProgress
from phase_jax.training import EpochInfo
from phase_jax.types import InterruptedRunError, LaneStatus

SCHEMA = json.loads(
    importlib.resources.files("phase_jax.report").joinpath("schema/result-v1.json").read_text()
)


@pytest.mark.parametrize("name", OUTCOMES)
def test_every_outcome_fits_the_schema_and_has_a_verdict(name):
    document = build_document(OUTCOMES[name])
    jsonschema.validate(document, SCHEMA)
    text = json.dumps(document, allow_nan=False)
    assert "NaN" not in text
    assert "Infinity" not in text
    assert document["verdict"].endswith(".")


def test_a_clean_model_that_diverged_has_no_part_in_the_threshold():
    result = next(r for r in OUTCOMES.values() if len(r.seeds) > 1)
    status = np.full_like(result.lanes.status, LaneStatus.OK)
    status[0, 1] = LaneStatus.DIVERGED
    broken = dataclasses.replace(
        result,
        lanes=dataclasses.replace(result.lanes, status=status),
        thresholds=np.where(np.arange(len(result.seeds)) == 1, np.nan, 0.25),
        clean_example_losses=np.where(
            np.arange(len(result.seeds))[:, None] == 1, np.nan, 0.25 * np.ones((1, 4))
        ),
    )
    assert broken.threshold == 0.25
    threshold = build_document(broken)["threshold"]
    assert (threshold["value"], threshold["test_set_standard_error"]) == (0.25, 0)
    assert threshold["per_seed"][:2] == [0.25, None]
    status[0] = LaneStatus.DIVERGED
    nothing = dataclasses.replace(broken, lanes=dataclasses.replace(broken.lanes, status=status))
    assert build_document(nothing)["threshold"]["value"] is None


losses = st.floats(0, 8, width=32) | st.sampled_from([0.0, 1e-40, 3e38, math.inf, math.nan])


def draw_arrays(data, shape, elements):
    return data.draw(hypothesis.extra.numpy.arrays(np.float64, shape, elements=elements))


@hypothesis.settings(
    derandomize=True,
    deadline=None,
    max_examples=15,
    database=None,
    phases=(hypothesis.Phase.generate,),  # shrinking so many numbers takes minutes
)
@hypothesis.given(data=st.data(), method=st.sampled_from(SOLVER_METHODS))
def test_any_outcome_fits_the_schema(data, method):
    """Whatever the lanes end with: any loss, any status, solved by any method."""
    status = data.draw(hypothesis.extra.numpy.arrays(int, (3, 2), elements=st.integers(0, 2)))
    made = make_result(lane_status=status)
    columns = {
        name: draw_arrays(data, (3, 2), losses)
        for name in vars(made.lanes)
        if name not in ("status", "selected_epoch")
    }
    clean = draw_arrays(data, (2, 5), losses)
    curve = np.where(status == 0, columns["evaluated_train_loss"], np.nan)
    options = {"method": method, "num_resamples": 20, "seed": 0}
    with np.errstate(invalid="ignore", over="ignore"):  # infinities have no mean: not the subject
        estimate = estimate_epsilon_star(made.epsilons, curve.T, clean, **options)
    result = dataclasses.replace(
        made,
        lanes=dataclasses.replace(made.lanes, **columns),
        clean_example_losses=clean,
        thresholds=clean.mean(axis=1),
        epsilon_star=estimate,
        epsilon_star_other=estimate,
    )
    with np.errstate(invalid="ignore", over="ignore"):
        document = build_document(result)
    jsonschema.validate(document, SCHEMA)
    json.dumps(document, allow_nan=False)


@pytest.mark.parametrize("name", OUTCOMES)
def test_every_outcome_can_be_drawn_and_written(name, tmp_path):
    write_result(OUTCOMES[name], tmp_path / "run")
    for plot in ("loss_curve", "learning_curves"):
        pixels = matplotlib.image.imread(tmp_path / "run" / f"{plot}.png")
        assert pixels.shape[1] > 900
        assert pixels[..., :3].std() > 0.02  # not a blank page
        assert "</svg>" in (tmp_path / "run" / f"{plot}.svg").read_text()
    assert not list((tmp_path / "run").glob(".tmp-*"))


def test_the_schema_refuses_a_value_without_found_and_unknown_fields():
    document = build_document(OUTCOMES["UNDEFINED"])
    document["epsilon_star"]["value"] = 0.1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)
    document = {**build_document(OUTCOMES["found"]), "surprise": 1}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)


def test_a_full_disk_is_one_line_and_leaves_no_result_that_looks_complete(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", refuse)
    with pytest.raises(InterruptedRunError, match="No space left on device") as caught:
        write_result(OUTCOMES["found"], tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "result.json").exists()
    assert not list((tmp_path / "run").glob(".tmp-*"))


def test_a_directory_that_became_unwritable_is_one_line(tmp_path):
    (tmp_path / "run").write_text("a file where the directory should be")
    with pytest.raises(InterruptedRunError, match="results are not written") as caught:
        write_result(OUTCOMES["found"], tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_a_scratch_directory_that_cannot_be_made_is_one_line(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)
    with pytest.raises(InterruptedRunError, match="Read-only file system"):
        write_result(OUTCOMES["found"], tmp_path / "run")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_live_in_a_terminal_and_plain_lines_elsewhere(is_terminal):
    file = io.StringIO()
    console = Console(file=file, force_terminal=is_terminal, width=100)
    epochs = EpochInfo(*[np.ones((2, 2, 1))] * len(EpochInfo._fields))
    progress = SweepProgress(
        "train", 4, 3, 10, 1234.0, 75.0, np.array([0, 8 / 255]), np.arange(2), epochs
    )
    with ProgressDisplay(console) as display:
        display.show(progress._replace(phase="compile", epoch=0))
        display.show(progress)
        display.show(progress._replace(phase="save"))  # of no interest in a terminal
    text = file.getvalue()
    assert ("\x1b" in text) == is_terminal
    for part in ("epoch 3/10", "1,234 examples/s", "1:15 left", "8/255"):
        assert part in text
    if not is_terminal:
        assert text.count("\n") == 2


def test_the_compilation_cache_goes_where_the_user_says(tmp_path, monkeypatch):
    before = (
        jax.config.jax_compilation_cache_dir,
        jax.config.jax_persistent_cache_min_compile_time_secs,
    )
    try:
        monkeypatch.setenv("PHASE_JAX_CACHE_DIR", str(tmp_path / "cache"))
        assert enable_compilation_cache() == tmp_path / "cache"
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "cache")
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("PHASE_JAX_CACHE_DIR", str(tmp_path / "file" / "cache"))
        assert enable_compilation_cache() is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before[0])
        jax.config.update("jax_persistent_cache_min_compile_time_secs", before[1])


def test_the_same_figure_has_the_same_bytes(tmp_path):
    for run in ("a", "b"):
        write_result(OUTCOMES["found"], tmp_path / run)
    for name in ("loss_curve.svg", "learning_curves.png", "result.json", "lanes.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_loss_curve_shows_threshold_epsilon_star_and_interval():
    axes = draw_loss_curve(OUTCOMES["found"]).axes[0]
    labels = axes.get_legend_handles_labels()[1]
    assert "clean test loss of the clean model, 0.2" in labels
    assert any(label.startswith("ε* = 12.8/255") and "10.2/255" in label for label in labels)
    assert "ℓ∞" in axes.get_xlabel()
    assert "1/255" in axes.get_xlabel()


def test_failed_lanes_are_marked_and_never_averaged():
    result = OUTCOMES["lanes collapsed"]
    labels = draw_loss_curve(result).axes[0].get_legend_handles_labels()[1]
    assert "lanes that diverged or collapsed here" in labels
    left = draw_learning_curves(result).axes[0]
    assert np.isnan(left.lines[2].get_ydata()).all()  # no lane is left to average
    assert [line.get_linestyle() for line in left.lines[3:]] == [":", ":"]


def test_the_learning_curves_have_a_line_a_strength():
    left, right = draw_learning_curves(OUTCOMES["found"]).axes
    assert len(left.lines) == 3
    assert len(right.lines) == 6  # and the selected epochs


def test_the_verdict_compares_the_target_with_epsilon_star():
    star = make_estimate(value=0.5 / 255, low=0.4 / 255, high=0.6 / 255)
    assert describe_outcome(make_result(star)) == (
        "8/255 is 16 times epsilon* = 0.5/255 (95 % interval 0.4/255 to 0.6/255): adversarial "
        "training here is far past the transition."
    )


@pytest.mark.parametrize(
    ("epsilon", "estimate", "regime"),
    [
        (0.03, make_estimate(), "before"),
        (0.05, make_estimate(), "at"),
        (0.07, make_estimate(), "past"),
        (0.2, make_estimate(), "far_past"),
        (0.2, make_estimate(high=None), "at"),
        (0.01, make_estimate(low=0.0), "at"),
        (0.1, make_estimate(EpsilonStatus.BEYOND_GRID), "before"),
        (0.2, make_estimate(EpsilonStatus.BEYOND_GRID), "unknown"),
        (0.2, make_estimate(EpsilonStatus.INFINITE), "before"),
        (0.2, make_estimate(EpsilonStatus.UNDEFINED), "unknown"),
        (0.2, make_estimate(EpsilonStatus.NONFINITE), "unknown"),
    ],
)
def test_a_target_is_placed_against_the_interval(epsilon, estimate, regime):
    assert compare_target(epsilon, estimate, largest_epsilon=0.1).regime == regime


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (8 / 255, "8/255"), (0.5 / 255, "0.5/255"), (0.3, "76.5/255")]
)
def test_strengths_are_written_as_the_field_writes_them(value, text):
    assert format_epsilon(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(42, "0:42"), (3723, "1:02:03"), (math.nan, "?"), (math.inf, "?")]
)
def test_durations_are_written_for_people(seconds, text):
    assert format_seconds(seconds) == text
