"""Where a run happens: versions, device, source revision, and the cache of compiled programs."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import platform
import subprocess
from typing import Any

import jax

import phase_jax

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "chex", "numpy", "scipy")


def describe_environment() -> dict[str, Any]:
    """Describe versions, device and source revision for a result.

    Returns:
      Plain data for JSON. `revision` is the git commit of the package's checkout, with `+dirty`
      when tracked files differ, or None for an installed copy.
    """
    devices = jax.devices()
    versions = {"python": platform.python_version(), "phase_jax": phase_jax.__version__}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "device": {
            "backend": jax.default_backend(),
            "kind": devices[0].device_kind,
            "count": len(devices),
            "cpu_cores": os.cpu_count(),
            "platform": platform.platform(terse=True),
        },
        "revision": _read_revision(),
    }


def enable_compilation_cache() -> pathlib.Path | None:
    """Keep compiled programs in $PHASE_JAX_CACHE_DIR or the user's cache directory.

    Returns:
      The directory, or None when it cannot be made; a run then compiles afresh.
    """
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    path = pathlib.Path(os.environ.get("PHASE_JAX_CACHE_DIR") or home / "phase_jax" / "xla")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return path


def _read_revision() -> str | None:
    """Read the git commit of the checkout that holds this package, if it is one."""
    root = pathlib.Path(phase_jax.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        changes = git("status", "--porcelain", "--untracked-files=no", "--", "phase_jax")
        return git("rev-parse", "HEAD") + ("+dirty" if changes else "")
    except (OSError, subprocess.SubprocessError):
        return None
