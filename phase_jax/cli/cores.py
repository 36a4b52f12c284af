"""Share the lanes of a sweep among the cores of a CPU, before JAX starts."""

from __future__ import annotations

import os
import sys

DEVICE_COUNT = "--xla_force_host_platform_device_count"
THREADS = "--xla_cpu_multi_thread_eigen"


def divide_cores(num_devices: int | None, num_lanes: int) -> None:
    """Let JAX see the CPU as several devices, which train lanes at the same time.

    XLA uses little more than one core for the loop over lanes; devices run beside each other. It
    changes no bit of a lane. Accelerators do not notice. Nothing happens where JAX is loaded
    already or `XLA_FLAGS` has a number of devices.

    Args:
      num_devices: Asked for; None for one a core, at most one a lane.
      num_lanes: Lanes that there are to train.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "jax" in sys.modules or DEVICE_COUNT in flags:
        return
    num_cores = count_cores()
    wanted = min(num_cores, num_lanes) if num_devices is None else num_devices
    if wanted == 1:
        return
    added = f"{DEVICE_COUNT}={wanted}"
    if wanted >= num_cores and THREADS not in flags:
        added += f" {THREADS}=false"  # every core has a lane: threads inside would only wait
    os.environ["XLA_FLAGS"] = f"{flags} {added}".strip()


def count_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
