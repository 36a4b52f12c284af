"""Weights and images that both sides of a golden comparison draw for themselves, with NumPy.

Each array depends on its name and shape only, so that neither order nor library matters.
"""

from __future__ import annotations

import zlib

import numpy as np


def draw_array(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw one entry of a PyTorch state dict in float64; no entry is at its initial value."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) == 4:
        return rng.normal(0, np.sqrt(2 / (shape[0] * shape[2] * shape[3])), shape)
    if len(shape) == 2:
        return rng.normal(0, np.sqrt(1 / shape[1]), shape)
    if name.endswith("running_var") or name.endswith("weight"):
        return rng.uniform(0.5, 1.5, shape)
    return rng.normal(0, 0.1, shape)


def draw_state_dict(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Draw every entry of a state dict, names in PyTorch's form."""
    return {name: draw_array(name, shape) for name, shape in shapes.items()}


def draw_batch(shape: tuple[int, ...], num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw images [B, H, W, C] in [0, 1], float64, and labels [B]."""
    rng = np.random.default_rng(20)
    return rng.uniform(size=shape), rng.integers(0, num_classes, shape[0])
