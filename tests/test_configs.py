"""The configuration files of the paper's settings: what they say, and that they say it rightly."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import runpy

import pytest

import phase_jax
from phase_jax.cli import main
from phase_jax.config import SweepConfig
from phase_jax.config_file import load_config_file
from phase_jax.reproduce import paper
from phase_jax.reproduce.catalogue import SETTINGS, find_config_file, load_setting
from phase_jax.reproduce.cost import estimate_hours, format_hours
from phase_jax.reproduce.recipes import build_quick, scale_grid
from phase_jax.types import InputError
from phase_jax.validation import validate_config

ROOT = pathlib.Path(phase_jax.__file__).resolve().parents[1]
FOLDER = ROOT / "configs" / "paper"
SIZES = {"10k": 10_000, "25k": 25_000, "50k": 50_000}


def test_every_setting_has_a_file_and_every_file_is_a_setting():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(SETTINGS)
    with_losses = {setting for setting in SETTINGS if paper.list_lanes(setting)}
    with_star = {setting for setting in SETTINGS if paper.find_star(setting) is not None}
    assert with_losses | with_star == set(SETTINGS)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_file_opens_with_its_command_its_expectation_and_its_time(setting):
    text = find_config_file(setting).read_text(encoding="utf-8")
    opening = text.split('"""')[1]
    assert f"python -m phase_jax.sweep configs/paper/{setting}.py\n" in opening
    hours = format_hours(estimate_hours(load_setting(setting)))
    assert f"one H200-class GPU, about {hours} (from counted operations, not measured)" in opening
    assert ":quick" in opening
    star = paper.find_star(setting)
    if star is not None:
        stated = re.search(r"Expected: epsilon\* = ([\d.]+)/255", opening)
        assert stated
        assert float(stated[1]) == star


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_is_what_its_name_says(setting):
    config = validate_config(load_setting(setting))
    dataset = {"svhn": "svhn_cropped"}.get(setting.split("-")[0], setting.split("-")[0])
    assert config.data.name == dataset
    assert config.data.num_train == next(n for size, n in SIZES.items() if f"-{size}-" in setting)
    assert config.attack.norm == ("l2" if "-l2" in setting else "linf")
    assert config.attack.name == ("fgm" if setting.endswith("-fgm") else "pgd")
    assert config.attack.num_steps == config.evaluation.num_steps == 10
    assert config.evaluation.step_length() == pytest.approx(15 / 128 if "-l2" in setting else 0.25)
    assert config.training.optimizer == ("adam" if setting.endswith("-adam") else "sgd")
    assert config.training.batch_size == (256 if setting.endswith("-batch256") else 128)
    objective = setting.rsplit("-", 1)[1]
    expected = objective if objective in ("trades", "mart") else "vanilla"
    assert config.training.objective == expected
    assert config.training.beta == {"trades": 6, "mart": 5}.get(expected)
    if "preactresnet18" in setting:
        assert (config.model.name, config.model.width) == ("preactresnet18", 64)
    if "wideresnet34" in setting:
        assert (config.model.name, config.model.width) == (
            "wideresnet34",
            int(setting.split("-")[2]),
        )


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_lanes_of_a_setting_are_the_printed_ones(setting):
    printed = {lane.epsilon_255 for lane in paper.list_lanes(setting)}
    grid = {round(255 * epsilon, 6) for epsilon in load_setting(setting).epsilons}
    if printed:
        assert grid == printed | {0.0}
    else:
        assert max(grid) > paper.find_star(setting)


RECIPES = {
    "cifar10": (200, 0.1, "crop_flip"),
    "cifar100": (200, 0.1, "crop_flip_rotate"),
    "svhn_cropped": (200, 0.01, "none"),
    "mnist": (40, 0.05, "none"),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_training_follows_the_recipe_of_the_data_set(setting):
    config = load_setting(setting)
    num_epochs, learning_rate, augmentation = RECIPES[config.data.name]
    training = config.training
    assert (training.num_epochs, training.augmentation) == (num_epochs, augmentation)
    assert training.learning_rate == (1e-3 if training.optimizer == "adam" else learning_rate)
    assert (training.momentum, training.weight_decay) == (0.9, 5e-4)
    assert [fraction * num_epochs for fraction in training.decay_at] == [
        num_epochs / 2,
        3 * num_epochs / 4,
    ]
    assert training.decay_factor == 0.1


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_quick_variant_is_the_setting_made_small(setting):
    config, quick = load_setting(setting), load_setting(setting, quick=True)
    assert validate_config(quick) == build_quick(config)
    assert quick.epsilon_grid == config.epsilon_grid
    assert quick.attack == config.attack
    assert quick.training.objective == config.training.objective
    assert quick.training.augmentation == config.training.augmentation
    assert quick.data.num_train <= 500
    assert quick.training.num_epochs <= 4
    assert quick.model != config.model
    assert dataclasses.replace(quick.model, name="", width=None) == dataclasses.replace(
        config.model, name="", width=None
    )


def test_grids_are_given_in_pixels():
    assert scale_grid(0, 8) == (0.0, 8 / 255)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda p: p.stem)
def test_the_other_files_are_valid(path):
    assert validate_config(runpy.run_path(str(path))["config"])


def test_a_file_may_define_several_configurations(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from phase_jax.config import SweepConfig\n"
        "config = SweepConfig(seed=1)\nother = SweepConfig(seed=2)\nnumber = 3\n"
    )
    assert load_config_file(str(path)) == SweepConfig(seed=1)
    assert load_config_file(f"{path}:other") == SweepConfig(seed=2)
    for name in ("number", "absent"):
        with pytest.raises(InputError, match=f"does not define {name} = SweepConfig"):
            load_config_file(f"{path}:{name}")


def test_the_sweep_command_takes_a_named_configuration(capsys):
    assert main(["sweep", f"{FOLDER / SETTINGS[0]}.py:slow"]) == 2
    assert "does not define slow" in capsys.readouterr().err


def test_other_networks_have_no_estimate():
    assert estimate_hours(SweepConfig()) is None
    assert format_hours(None) == "?"
    assert format_hours(0.5) == "30 min"
    assert format_hours(7.6) == "8 h"
