"""Networks behind one small interface; Flax is not visible outside this package."""

from phase_jax.models.build import Model, build_model, fingerprint_parameters, wrap_linen

__all__ = ["Model", "build_model", "fingerprint_parameters", "wrap_linen"]
