"""Networks behind one small interface; Flax is not visible outside this package."""

from phase_jax.models.build import build_model
from phase_jax.models.interface import (
    Model,
    fingerprint_parameters,
    standardise_pixels,
    wrap_linen,
)
from phase_jax.models.nnx_module import take_nnx, wrap_nnx
from phase_jax.models.torch_import import load_torch_parameters
from phase_jax.models.wrap import wrap_functions, wrap_model

__all__ = [
    "Model",
    "build_model",
    "fingerprint_parameters",
    "load_torch_parameters",
    "standardise_pixels",
    "take_nnx",
    "wrap_functions",
    "wrap_linen",
    "wrap_model",
    "wrap_nnx",
]
