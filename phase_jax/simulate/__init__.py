"""Studies of the linear model, one module each: `python -m phase_jax.simulate STUDY`.

Importing this package, `registry` or `directory` needs no JAX, so that help and refusals are quick.
"""
