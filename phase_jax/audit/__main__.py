"""The door `python -m phase_jax.audit`."""

from phase_jax.cli import main_and_exit

if __name__ == "__main__":
    main_and_exit("audit")
