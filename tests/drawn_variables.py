"""Parameters and statistics of a network, drawn without compiling its own initialisation."""

from __future__ import annotations

import jax
import numpy as np

KEY = jax.random.key(0)  # decides nothing: shapes only


def draw_params(model, seed=2):
    """Draw parameters, biases too."""
    return draw_leaves(jax.eval_shape(model.init, KEY)[0], seed)


def draw_state(model, seed=4):
    """Draw statistics of BatchNorm; nothing where there are none."""
    return draw_leaves(jax.eval_shape(model.init, KEY)[1], seed)


def draw_leaves(shapes, seed):
    """Draw a tree: scales and variances near 1, all else near 0."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        centre = float(path[-1].key in ("scale", "var"))
        return (centre + rng.normal(0, 0.1, leaf.shape)).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)
