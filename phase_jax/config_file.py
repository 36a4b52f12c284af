"""Configuration files: Python that defines `config = SweepConfig(...)`. Such a file is code."""

from __future__ import annotations

import runpy

from phase_jax.config import SweepConfig
from phase_jax.types import InputError

DEFAULT_NAME = "config"


def load_config_file(place: str) -> SweepConfig:
    """Run a configuration file and take a configuration from it.

    Args:
      place: `PATH.py`, or `PATH.py:NAME` where the file defines more than `config`.

    Returns:
      The configuration, not yet validated.

    Raises:
      InputError: The file cannot be read, fails to run, or does not define the configuration.
    """
    path, _, name = place.rpartition(":")
    if not path.endswith(".py"):
        path, name = place, DEFAULT_NAME
    try:
        namespace = runpy.run_path(path)
    except FileNotFoundError:
        raise InputError(
            f"CONFIG: {path!r} does not exist; give a Python file, or a flag"
        ) from None
    except OSError as error:
        raise InputError(f"CONFIG: {path!r} cannot be read: {error.strerror}") from None
    except (Exception, SystemExit) as error:
        raise InputError(
            f"CONFIG: {path!r} failed to run: {type(error).__name__}: {error}"
        ) from None
    config = namespace.get(name)
    if not isinstance(config, SweepConfig):
        raise InputError(f"CONFIG: {path!r} does not define {name} = SweepConfig(...)")
    return config
