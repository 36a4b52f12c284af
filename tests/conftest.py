"""Test set-up: equal programs compile once a session; linear algebra takes one thread."""

from __future__ import annotations

import os

import jax
import pytest
import scipy.linalg  # noqa: F401 - whose BLAS must be there to be limited
import threadpoolctl


@pytest.fixture(scope="session", autouse=True)
def one_blas_thread():
    """Workers fill the cores; threads of BLAS would wait for one another, spinning."""
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        yield


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """Share compiled programs between tests (and workers) of one session."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "xla"
    folder.mkdir(exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    os.environ["PHASE_JAX_CACHE_DIR"] = str(folder)  # for commands, and not the user's own
