"""Programs are compiled with the options that this jaxlib knows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from phase_jax import compilation
from phase_jax.compilation import choose_compiler_options


@pytest.fixture(autouse=True)
def forget():
    choose_compiler_options.cache_clear()
    yield
    choose_compiler_options.cache_clear()


def test_accelerators_keep_their_defaults():
    assert choose_compiler_options("gpu") == {}
    assert choose_compiler_options("tpu") == {}


def test_options_that_this_compiler_does_not_know_are_left_out(monkeypatch):
    monkeypatch.setattr(compilation, "CPU_OPTIONS", {"xla_cpu_no_such_option": "1"})
    assert choose_compiler_options("cpu") == {}


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="about the compiler for CPUs")
def test_convolutions_go_to_the_library_that_is_fast_for_them():
    options = choose_compiler_options("cpu")
    if not options:
        pytest.skip("this jaxlib does not let one choose")

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    program = jax.jit(convolve, compiler_options=options)
    compiled = program.lower(jnp.ones((8, 12, 12, 32)), jnp.ones((3, 3, 32, 16))).compile()
    assert "ynn_fusion" not in compiled.as_text()
