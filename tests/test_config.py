"""The configuration against the modules that it names things of."""

from __future__ import annotations

import pytest

from phase_jax import InputError, attacks, build_model, losses, solver
from phase_jax import config as configuration
from phase_jax.config import SweepConfig
from phase_jax.validation import validate_config


def test_the_default_configuration_is_valid():
    assert validate_config(SweepConfig()) == SweepConfig()


def test_norms_and_solver_methods_are_those_that_their_modules_know():
    assert configuration.NORMS == attacks.NORMS
    assert configuration.SOLVER_METHODS == solver.METHODS


@pytest.mark.parametrize("name", configuration.ATTACKS)
def test_every_attack_that_may_be_configured_can_be_made(name):
    assert callable(attacks.make_attack(name, norm="linf"))


@pytest.mark.parametrize("name", configuration.MODELS)
def test_every_model_that_may_be_configured_can_be_built(name):
    assert build_model(name, num_classes=10, input_shape=(28, 28, 1)).name.startswith(name)


@pytest.mark.parametrize("name", configuration.OBJECTIVES)
def test_every_objective_that_may_be_configured_can_be_built(name):
    assert losses.build_objective(name).name == name


def test_modules_know_no_name_that_may_not_be_configured():
    for known, make in (
        (configuration.ATTACKS, lambda: attacks.make_attack("none", norm="linf")),
        (configuration.OBJECTIVES, lambda: losses.build_objective("none")),
        (configuration.MODELS, lambda: build_model("none", num_classes=2, input_shape=(4, 4, 1))),
    ):
        with pytest.raises(InputError, match=rf"allowed: {', '.join(known)}(,|$)"):
            make()
