"""Power laws fitted to medians with known errors: exponents with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from jaxtyping import Float

    from phase_jax.simulate.intervals import Interval

LEVEL = 0.95


class PowerLaw(NamedTuple):
    """log y = log prefactor + exponent log x, and perhaps + drift x^power."""

    exponent: float
    exponent_error: float
    """Standard error."""
    prefactor: float
    prefactor_error: float
    """Standard error of the logarithm of the prefactor: a relative one."""
    drift: float
    """Coefficient of x^power; 0 where it was not fitted."""
    chi_square: float
    """Per degree of freedom; nan without any."""
    num_points: int

    @property
    def interval(self) -> tuple[float, float]:
        """The exponent's 95 % interval."""
        half = float(stats.norm.ppf((1 + LEVEL) / 2)) * self.exponent_error
        return self.exponent - half, self.exponent + half


def measure_log_error(median: Interval) -> float:
    """Compute the standard error of a median's logarithm from its interval.

    Returns:
      nan where the interval reaches 0 or has no end.
    """
    if not (median.low > 0 and np.isfinite(median.high)):
        return np.nan
    return float(np.log(median.high / median.low) / (2 * stats.norm.ppf((1 + LEVEL) / 2)))


def fit_power_law(
    x: Float[np.ndarray, "K"],
    y: Float[np.ndarray, "K"],
    log_errors: Float[np.ndarray, "K"],
    *,
    drift_power: float | None = None,
) -> PowerLaw | None:
    """Fit a power law by weighted least squares on logarithms.

    Where the points scatter more than their errors say, the exponent's error grows accordingly.

    Args:
      x: Places, > 0.
      y: Values, > 0; with errors that are not finite a point is left out.
      log_errors: Standard errors of log y.
      drift_power: Fit a correction drift x^drift_power to log y as well; None for none.

    Returns:
      The fit; None where there are fewer points or places than coefficients.
    """
    sound = np.isfinite(log_errors) & np.isfinite(y) & (log_errors > 0)
    x, y, log_errors = x[sound], y[sound], log_errors[sound]
    columns = [np.ones_like(x), np.log(x)]
    if drift_power is not None:
        columns.append(x**drift_power)
    if len(np.unique(x)) < len(columns):
        return None
    design = np.stack(columns, 1) / log_errors[:, None]
    target = np.log(y) / log_errors
    covariance = np.linalg.inv(design.T @ design)
    solution = covariance @ design.T @ target
    num_free = x.size - len(columns)
    chi_square = float(((target - design @ solution) ** 2).sum() / num_free) if num_free else np.nan
    errors = np.sqrt(np.diag(covariance) * (max(chi_square, 1.0) if num_free else 1.0))
    return PowerLaw(
        exponent=float(solution[1]),
        exponent_error=float(errors[1]),
        prefactor=float(np.exp(solution[0])),
        prefactor_error=float(errors[0]),
        drift=float(solution[2]) if drift_power is not None else 0.0,
        chi_square=chi_square,
        num_points=int(x.size),
    )
