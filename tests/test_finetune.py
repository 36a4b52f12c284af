"""Algorithm A.1 on part of the digits: where lanes start, what is solved, what is written."""

from __future__ import annotations

import dataclasses
import html
import json

import jax
import numpy as np
import pytest
from small_problem import small_config, small_digits

from phase_jax import InputError, LaneStatus, load_run
from phase_jax.cli import main
from phase_jax.config import FineTuningConfig
from phase_jax.finetune import load_fine_tuning, run_fine_tuning, write_fine_tuning
from phase_jax.finetune.document import build_fine_tuning_document
from phase_jax.finetune.run import ImportedModel

TUNING = FineTuningConfig(epsilon_grid=(0.02, 0.05), attacks=("fgm",), num_epochs=2)
STILL = dataclasses.replace(TUNING, learning_rate=0.0)


def config(**changes):
    return small_config(
        attack={"num_steps": 2}, evaluation={"num_steps": 2, "batch_size": 50}, **changes
    )


@pytest.fixture(scope="module")
def result():
    return run_fine_tuning(config(), TUNING, data=small_digits())


@pytest.fixture(scope="module")
def directory(result, tmp_path_factory):
    path = tmp_path_factory.mktemp("finetune") / "run"
    write_fine_tuning(result, path)
    return path


@pytest.fixture(scope="module")
def clean(directory):
    """The lanes of one attack are a run like any other; their clean lanes can be started from."""
    return load_run(directory / "fgm")


def first_seed(tree):
    return jax.tree.map(lambda leaf: leaf[0, 0], tree)


def assert_params_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def test_the_clean_lanes_come_first_and_are_not_fine_tuned(result):
    run = result.runs["fgm"]
    np.testing.assert_allclose(run.epsilons, [0.0, 0.02, 0.05])
    assert (run.lanes.selected_epoch[0] == 0).all()
    assert np.isnan(run.history["train_loss"][0]).all()
    assert np.isfinite(run.history["train_loss"][1:]).all()
    np.testing.assert_allclose(run.thresholds, run.lanes.clean_test_loss[0], rtol=1e-6)
    assert run.config.training.schedule == "rise_fall"
    assert result.epsilon_star is result.extrapolations[1].estimate
    assert [e.name for e in result.extrapolations] == [
        "fgm_1", "fgm_2", "fgm_isotonic", "fgm_monotone_spline",
    ]  # fmt: skip


def test_lanes_start_from_the_clean_model_of_their_seed(clean):
    """At a learning rate of zero every lane stays where it starts."""
    run = run_fine_tuning(config(), STILL, clean=clean, data=small_digits()).runs["fgm"]
    for s in range(2):
        start = jax.tree.map(lambda leaf, s=s: leaf[0, s], clean.params)
        for e in range(3):
            assert_params_equal(jax.tree.map(lambda leaf, e=e, s=s: leaf[e, s], run.params), start)
    for name, values in vars(run.lanes).items():
        np.testing.assert_array_equal(values[0], getattr(clean.lanes, name)[0])
    assert (np.diff(run.lanes.evaluated_train_loss, axis=0) > 0).all()


@pytest.mark.slow
def test_a_sequence_starts_each_strength_from_the_one_before(clean, result):
    tuning = dataclasses.replace(TUNING, sequential=True)
    sequential = run_fine_tuning(config(), tuning, clean=clean, data=small_digits())
    here, there = sequential.runs["fgm"].params, result.runs["fgm"].params
    for e, same in ((1, True), (2, False)):
        for left, right in zip(jax.tree.leaves(here), jax.tree.leaves(there), strict=True):
            assert np.allclose(left[e], right[e], rtol=1e-3, atol=1e-5) == same
    assert "trapped" in sequential.cautions[0]


@pytest.mark.slow
def test_an_imported_model_serves_every_seed_and_is_evaluated(clean):
    start = ImportedModel(first_seed(clean.params), {})
    imported = run_fine_tuning(config(), STILL, clean=start, data=small_digits())
    lanes = imported.runs["fgm"].lanes
    np.testing.assert_allclose(lanes.train_loss[0], lanes.evaluated_train_loss[0])
    np.testing.assert_allclose(
        lanes.evaluated_train_loss[0], clean.lanes.evaluated_train_loss[0, 0], rtol=1e-5
    )
    assert (lanes.selected_epoch[0] == 0).all()
    assert any("imported" in caution for caution in imported.cautions)
    narrow = ImportedModel({"dense": np.zeros((64, 10), np.float32)}, {})
    with pytest.raises(InputError, match=r"params: .* the network is mlp"):
        run_fine_tuning(config(), STILL, clean=narrow, data=small_digits())


def test_example_gradients_are_counted(result):
    """150 training, 60 selection and 100 test images; 2 seeds; FGM 1 step, evaluation 2 or 1."""
    clean = 2 * (4 * (150 * 1 + 60 * 1) + 250 * 1)
    tuned = 4 * (2 * (150 * 2 + 60 * 2) + 250 * 2)
    assert result.gradients == {"clean": clean, "fgm": tuned}


def test_clean_training_is_counted_from_one_fine_tuning_to_the_next(directory, result):
    again = run_fine_tuning(
        config(num_seeds=1), STILL, clean=load_run(directory / "fgm"), data=small_digits()
    )
    assert again.gradients["clean"] == result.gradients["clean"] // 2  # one seed of two


def test_the_directory_holds_what_the_result_holds(directory, result):
    document = json.loads((directory / "result.json").read_text())
    assert document["kind"] == "fine_tuning"
    assert document["origin"] == {"kind": "trained"}
    assert [e["name"] for e in document["extrapolations"]] == [
        e.name for e in result.extrapolations
    ]
    assert document["fits"]["fgm"]["slope"] == pytest.approx(result.fits["fgm"].slope)
    assert sorted(path.name for path in directory.iterdir()) == [
        "fgm", "fit.png", "fit.svg", "points.csv", "report.html", "result.json", "schedule.png",
        "schedule.svg",
    ]  # fmt: skip
    assert len((directory / "points.csv").read_text().splitlines()) == 1 + 6
    assert load_run(directory / "fgm").description["fine_tuned_from"] == "trained"


def test_a_directory_is_read_back_and_its_page_built_again(directory, result, capsys):
    again = load_fine_tuning(directory, with_parameters=False)
    assert build_fine_tuning_document(again) == build_fine_tuning_document(result)
    page = directory / "report.html"
    before = page.read_text(encoding="utf-8")
    page.unlink()
    assert main(["report", str(directory)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert page.read_text(encoding="utf-8") == before
    for flag in ("--out", "--paper", "--audit"):
        assert main(["report", str(directory), flag, "x"]) == 2
        assert f"{flag}: 'x' has no meaning for a fine-tuning" in capsys.readouterr().err


def test_a_fine_tuning_that_does_not_fit_together_is_refused(directory, tmp_path):
    document = json.loads((directory / "result.json").read_text())
    for changes, named in (
        ({"fits": None}, "does not fit together"),
        ({"fine_tuning": {"attacks": ["pgd"], "colour": 1}}, "'colour' is not known"),
        ({"schema_version": 99}, "schema version 99"),
        ({}, "fgm' is no directory"),
    ):
        (tmp_path / "result.json").write_text(json.dumps({**document, **changes}))
        with pytest.raises(InputError, match=named):
            load_fine_tuning(tmp_path)
    with pytest.raises(InputError, match="holds no finished fine-tuning"):
        load_fine_tuning(directory.parent)


def test_the_directory_has_a_page(directory, result):
    page = (directory / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2
    assert 'href="fgm/report.html"' in page
    assert (directory / "fgm" / "report.html").is_file()
    assert page.count("FGM, ") == 2 * len(result.extrapolations)  # on the scale, in the table
    assert "https:" not in page
    for caution in result.cautions:
        assert html.escape(caution.replace("epsilon", "ε")) in page


def spoil_clean_lanes(run):
    status = run.lanes.status.copy()
    status[0] = LaneStatus.COLLAPSED
    return dataclasses.replace(run, lanes=dataclasses.replace(run.lanes, status=status))


@pytest.mark.parametrize(
    ("changes", "spoil_fn", "named"),
    [
        ({"num_seeds": 3}, lambda run: run, "--seeds: 3 is not allowed.*allowed: 1 to 2"),
        ({}, spoil_clean_lanes, "--from: the run has no clean lane"),
        ({"model": {"widths": (17,)}}, lambda run: run, "model: mlp.*is not the run's network"),
        ({"seed": 5, "data": {"num_train": 100}}, lambda run: run, "data: 'digits'"),
    ],
)
def test_a_start_that_does_not_fit_is_one_line(clean, changes, spoil_fn, named):
    images = None if "data" in changes else small_digits()
    with pytest.raises(InputError, match=named) as caught:
        run_fine_tuning(config(**changes), STILL, clean=spoil_fn(clean), data=images)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"epsilon_grid": (0.0,)}, "--eps-grid"),
        ({"attacks": ("gaussian",)}, "--attack: 'gaussian'"),
        ({"attacks": ()}, "--attack"),
        ({"attacks": ("fgm", "fgm")}, "--attack"),
        ({"num_epochs": 0}, "--fine-tune-epochs: 0"),
        ({"learning_rate": -1.0}, "--fine-tune-rate: -1.0"),
    ],
)
def test_settings_out_of_range_are_refused(fields, named):
    with pytest.raises(InputError, match=named):
        run_fine_tuning(config(), FineTuningConfig(**fields), data=small_digits())


def test_the_command_goes_on_from_a_run_with_its_own_settings(directory, tmp_path, capsys):
    out = tmp_path / "again"
    arguments = ["--from", str(directory / "fgm"), "--attack", "fgm", "--fine-tune-epochs", "2"]
    arguments += ["--eps-grid", "0.02,0.05", "--no-compilation-cache", "--out", str(out)]
    assert main(["finetune", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "line, all points" in printed
    assert "epsilon*" in printed
    assert "clean model" not in printed.splitlines()[0]  # it was not trained again
    document = json.loads((out / "result.json").read_text())
    assert document["origin"] == {"kind": "run", "place": str(directory / "fgm")}
    assert document["config"]["model"]["widths"] == [16]
    assert main(["finetune", *arguments]) == 2
    assert "holds a finished run already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--from", "nowhere"], "--from: 'nowhere' is no directory"),
        (["--from", "nowhere.npz"], "nowhere.npz: cannot be read"),
        (["--attack", "noise"], "--attack: 'noise'"),
        (["--epsilon-grid", "0.1"], "--epsilon-grid is not a known option"),
        (["--solver", "line"], "--solver is not a known option"),
        (["--eps-grid", "-1"], "--eps-grid"),
    ],
)
def test_bad_arguments_are_one_line(arguments, named, capsys):
    assert main(["finetune", *arguments]) == 2
    error = capsys.readouterr().err
    assert named in error
    assert len(error.splitlines()) == 1
