"""Factorisations that stay safe and fast under `jax.vmap` on every device.

On a CPU a batch of LAPACK calls runs as a loop of single ones. jaxlib (0.10) instead hands a batch
to the thread pool and waits for it inside the pool, so that two batches at the same time, from
parts of a program that don't depend on each other or from two programs, can wait for ever. The
loop costs about 2 microseconds a call. Accelerators get the batched routines.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import jax

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Array, Float


def _make_single_on_cpu(function: Callable[..., Array]) -> Callable[..., Array]:
    """Return the function with batches taken one by one where the program runs on a CPU."""
    single = jax.custom_batching.sequential_vmap(function)

    @functools.wraps(function)
    def choose(*arguments: Array) -> Array:
        return jax.lax.platform_dependent(*arguments, cpu=single, default=function)

    return choose


@_make_single_on_cpu
def factor_cholesky(matrix: Float[Array, "D D"]) -> Float[Array, "D D"]:
    """Factor a positive definite matrix as L L^T; NaN where it is not."""
    return jax.lax.linalg.cholesky(matrix, symmetrize_input=False)


@_make_single_on_cpu
def solve_cholesky(lower: Float[Array, "D D"], right: Float[Array, "D M"]) -> Float[Array, "D M"]:
    """Solve L L^T z = right."""
    return jax.scipy.linalg.cho_solve((lower, True), right)


@_make_single_on_cpu
def orthonormalise(tall: Float[Array, "N D"]) -> Float[Array, "N D"]:
    """Compute orthonormal columns that span those of a tall matrix of full rank, by QR."""
    return jax.numpy.linalg.qr(tall)[0]


@_make_single_on_cpu
def solve_upper(upper: Float[Array, "D D"], right: Float[Array, "D"]) -> Float[Array, "D"]:
    """Solve R z = right for an upper triangle R."""
    return jax.scipy.linalg.solve_triangular(upper, right)


@_make_single_on_cpu
def solve_upper_transposed(
    upper: Float[Array, "D D"], right: Float[Array, "D"]
) -> Float[Array, "D"]:
    """Solve R^T z = right for an upper triangle R."""
    return jax.scipy.linalg.solve_triangular(upper, right, trans="T")


@_make_single_on_cpu
def invert_upper(upper: Float[Array, "D D"]) -> Float[Array, "D D"]:
    """Invert an upper triangle R."""
    identity = jax.numpy.eye(upper.shape[0], dtype=upper.dtype)
    return jax.scipy.linalg.solve_triangular(upper, identity)
