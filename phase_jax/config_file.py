"""Configurations from files: Python that defines `config = SweepConfig(...)`, and a run's JSON.

A Python file is code; JSON is data.
"""

from __future__ import annotations

import dataclasses
import runpy
from typing import Any

from phase_jax.config import SweepConfig
from phase_jax.types import InputError

DEFAULT_NAME = "config"


def load_config_file(place: str, config_type: type = SweepConfig) -> Any:
    """Run a configuration file and take a configuration from it.

    Args:
      place: `PATH.py`, or `PATH.py:NAME` where the file defines more than `config`.
      config_type: What that is.

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
    if not isinstance(config, config_type):
        raise InputError(f"CONFIG: {path!r} does not define {name} = {config_type.__name__}(...)")
    return config


def rebuild_config(document: dict[str, Any], config_type: type = SweepConfig) -> Any:
    """Make a configuration from the plain data that a result holds.

    Args:
      document: Field -> value, groups as nested dicts, tuples as lists.
      config_type: The configuration, or one of its groups.

    Returns:
      An instance, not yet validated; fields that the document lacks have their defaults.

    Raises:
      InputError: The document has a field that this version does not know.
    """
    default = config_type()
    values = {}
    for name, value in document.items():
        if not hasattr(default, name):
            raise InputError(f"config: {name!r} is not known to this version of phase_jax")
        kind = type(getattr(default, name))
        if dataclasses.is_dataclass(kind):
            value = rebuild_config(value, kind)
        values[name] = tuple(value) if isinstance(value, list) else value
    return dataclasses.replace(default, **values)
