"""How programs are compiled on a CPU: with the faster of its two libraries for each operation."""

from __future__ import annotations

import functools

import jax

CPU_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
"""Of XLA's libraries for CPUs, YNNPACK multiplies matrices faster and Eigen convolves faster (by
a quarter and four times; benchmarks/README.md). From jaxlib 0.10 on YNNPACK does both."""


@functools.cache
def choose_compiler_options(backend: str) -> dict[str, str]:
    """Choose options for `jax.jit(compiler_options=...)`.

    Args:
      backend: `jax.default_backend()`.

    Returns:
      `CPU_OPTIONS` on a CPU whose compiler knows them; otherwise none.
    """
    if backend != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=dict(CPU_OPTIONS)).lower().compile()
    except jax.errors.JaxRuntimeError:  # not an option of this jaxlib
        return {}
    return CPU_OPTIONS
