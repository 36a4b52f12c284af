"""Prepare a data set: `python -m phase_jax.data prepare NAME [--source DIR] [--data-dir DIR]`."""

from __future__ import annotations

import sys

from phase_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["data", *sys.argv[1:]]))
