"""Draws that several Monte Carlo tests repeat, and how two runs are compared."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

KEY = jax.random.key(20_240)


def draw_normal(key):
    return jax.random.normal(key)


def draw_several(key):
    """Outputs of several shapes and types, with values that are not finite."""
    first, second = jax.random.split(key)
    x = jax.random.normal(first, (2, 3))
    u = jax.random.uniform(second)
    return {
        "matrix": x,
        "nested": (u, jnp.where(u < 0.3, jnp.nan, jnp.where(u > 0.9, jnp.inf, u))),
        "flag": u < 0.25,
        "count": jnp.floor(10 * u).astype(jnp.int32),
    }


def assert_equal_results(left, right):
    """Compare two runs bit for bit, kept values included."""
    jax.tree.map(np.testing.assert_array_equal, left.summary, right.summary)
    jax.tree.map(np.testing.assert_array_equal, left.values, right.values)
