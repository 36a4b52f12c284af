"""Theorem 2: the rise of the minimal train loss over the generalisation gap Delta.

The theorem says that (R_hat(0) - R_hat(epsilon)) / Delta -> 0 wherever epsilon << sqrt(d / n),
however d and n grow. What is measured is its size, rise / Delta. To first order the rise is
2 (2 / pi)^(1/2) epsilon |theta_0| sigma and Delta is 2 sigma^2 d / n, so at epsilon = kappa
sqrt(d / n) and sqrt(n) << d << n the size is 0.8 kappa |theta_0| / sigma (n / d)^(1/2). For
d << sqrt(n) Delta is mostly sigma^2 (2 / n)^(1/2) times a normal number, of either sign, and the
size is of order kappa d^(1/2): it vanishes with kappa for bounded d, not where d grows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phase_jax.linear.model import adversarial_loss, population_risk, sample_data, solve_clean
from phase_jax.linear.solve import SolveStatus, solve
from phase_jax.simulate.intervals import estimate_median, estimate_share
from phase_jax.simulate.limit import MEAN_ABSOLUTE, limit_threshold, solve_limit
from phase_jax.simulate.study import Study, StudyResult
from phase_jax.simulate.theorem2_figure import draw_theorem2

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, PRNGKeyArray

    from phase_jax.simulate.study import StudyContext

SIGMA = THETA_LENGTH = 1.0
KAPPAS = tuple(10 ** (k / 4) for k in range(-6, 3))
"""epsilon / sqrt(d / n), 0.03 to 3.2."""
DEFAULT, FULL, FULL_LARGE = 100, 1000, 200
LARGE = 200_000
"""N D from which --full draws FULL_LARGE replicates."""


class Regime(NamedTuple):
    """A way in which d grows with n."""

    name: str
    sizes: tuple[tuple[int, int], ...]
    """(N, D)."""
    more: tuple[tuple[int, int], ...]
    """Those that --full adds."""


BETWEEN = Regime("√n ≪ d ≪ n: d = n^⅔", ((64, 16), (1000, 100)), ((343, 49), (4096, 256)))
GROWING = Regime("d ≪ √n, growing: d = n^⅖", ((100, 6), (2000, 21)), ((400, 11),))
REGIMES = (
    BETWEEN,
    GROWING,
    Regime("d fixed: d = 5", ((1000, 5),), ((100, 5),)),
    Regime("d ~ n: d = n/2", ((100, 50),), ((400, 200),)),
    Regime("d ≫ n: d = 10 n", ((40, 400),), ((80, 800),)),
)


def run_theorem2(context: StudyContext) -> StudyResult:
    """Measure the ratio in every regime."""
    rows = []
    for regime in REGIMES:
        for num_examples, num_features in sorted(regime.sizes + regime.more * context.full):
            large = num_examples * num_features >= LARGE
            num_replicates = context.count(DEFAULT, FULL_LARGE if large else FULL)
            epsilons = list_epsilons(num_features / num_examples)
            result = context.simulate(
                f"n{num_examples}-d{num_features}",
                make_replicate(num_examples, num_features, epsilons, context.dtype),
                num_replicates,
                batch_size=min(num_replicates, max(1, LARGE // (num_examples * num_features))),
                keep_values=True,
                quantiles=(),
                label=f"{epsilons}",
            )
            rows += list_rows(regime, num_examples, num_features, epsilons, result.values)
    summary = {
        "sigma": SIGMA,
        "theta_length": THETA_LENGTH,
        "num_unsolved": sum(row["num_unsolved"] for row in rows),
    }
    return StudyResult(rows, summary, describe(rows), {"theorem2": draw_theorem2(rows)})


def list_epsilons(ratio: float) -> tuple[float, ...]:
    """List attack strengths: kappa sqrt(d / n), then (d / n)^(3/4), far below sqrt(d / n)."""
    return (*(kappa * ratio**0.5 for kappa in KAPPAS), ratio**0.75)


def make_replicate(
    num_examples: int, num_features: int, epsilons: tuple[float, ...], dtype: Any
) -> Callable[[PRNGKeyArray], dict[str, Any]]:
    """Make the function of a key that measures the rise at every epsilon, and Delta."""
    theta_0 = jnp.zeros(num_features, dtype).at[0].set(THETA_LENGTH)  # the l2 attack has no axes

    def replicate(key: PRNGKeyArray) -> dict[str, Any]:
        x, y = sample_data(key, num_examples, theta_0, SIGMA)
        clean = solve_clean(x, y)
        train_loss = adversarial_loss(clean, x, y, 0.0)
        found = jax.vmap(lambda epsilon: solve(x, y, epsilon))(jnp.asarray(epsilons, dtype))
        solved = found.status == SolveStatus.SOLVED
        return {
            "rise": jnp.where(solved, found.loss - train_loss, jnp.nan),
            "gap": population_risk(clean, theta_0, SIGMA, 0.0) - train_loss,
        }

    return replicate


def list_rows(
    regime: Regime,
    num_examples: int,
    num_features: int,
    epsilons: tuple[float, ...],
    values: dict[str, Float[np.ndarray, "..."]],
) -> list[dict[str, Any]]:
    """List one row for each attack strength."""
    gap, ratio = values["gap"], num_features / num_examples
    negative = estimate_share(int((gap < 0).sum()), gap.size)
    rows = []
    for index, epsilon in enumerate(epsilons):
        rise = values["rise"][:, index]
        middle, size = estimate_median(rise / gap), estimate_median(abs(rise / gap))
        mean, error = divide_means(rise, gap)
        kappa = epsilon / ratio**0.5
        rows.append(
            {
                "regime": regime.name,
                "n": num_examples,
                "d": num_features,
                "line": "kappa" if index < len(KAPPAS) else "(d/n)^(3/4)",
                "kappa": kappa,
                "epsilon": epsilon,
                "median": middle.value,
                "median_low": middle.low,
                "median_high": middle.high,
                "size": size.value,
                "size_low": size.low,
                "size_high": size.high,
                "ratio_of_means": mean,
                "ratio_of_means_standard_error": error,
                "first_order": MEAN_ABSOLUTE * kappa * THETA_LENGTH / SIGMA / ratio**0.5,
                "limit": predict_ratio(epsilon, ratio),
                "share_negative_gap": negative.value,
                "share_negative_gap_low": negative.low,
                "share_negative_gap_high": negative.high,
                "num_replicates": gap.size,
                "num_unsolved": int(np.isnan(rise).sum()),
            }
        )
    return rows


def divide_means(rise: Float[np.ndarray, "R"], gap: Float[np.ndarray, "R"]) -> tuple[float, float]:
    """Compute mean(rise) / mean(gap) and its standard error, to first order in both."""
    sound = np.isfinite(rise)
    rise, gap = rise[sound], gap[sound]
    value = rise.mean() / gap.mean()
    spread = (rise - value * gap) / gap.mean()
    return float(value), float(spread.std(ddof=1) / spread.size**0.5)


def predict_ratio(epsilon: float, ratio: float) -> float:
    """Compute the limit of rise / Delta as n grows at this d / n."""
    train_loss = SIGMA**2 * max(1 - ratio, 0.0)
    loss = solve_limit(epsilon, ratio, THETA_LENGTH, SIGMA).loss
    return (loss - train_loss) / (limit_threshold(ratio, THETA_LENGTH, SIGMA) - train_loss)


def describe(rows: list[dict[str, Any]]) -> list[str]:
    """Say where the theorem holds and where it fails."""
    unsolved = sum(row["num_unsolved"] for row in rows)
    total = sum(row["num_replicates"] for row in rows)
    findings = [_describe_counterexample(rows), _describe_fixed_kappa(rows), _describe_few(rows)]
    for regime in REGIMES:
        if regime not in (BETWEEN, GROWING):
            own = [row for row in rows if row["regime"] == regime.name and row["line"] == "kappa"]
            findings.append(_describe_elsewhere(regime, own))
    findings.append(f"{unsolved} of {total:,} solves left out: their certificate did not close.")
    return [finding for finding in findings if finding]


def _describe_elsewhere(regime: Regime, rows: list[dict[str, Any]]) -> str:
    """Describe a regime where the theorem holds."""
    last = [row for row in rows if row["n"] == rows[-1]["n"]]
    low, high = (min(last, key=lambda row: abs(row["kappa"] - k)) for k in (KAPPAS[0], 1.0))
    return (
        f"{regime.name}, n = {low['n']}: median |rise/Δ| {_show(low, 'size')} at ε = "
        f"{low['kappa']:.2f} √(d/n) and {_show(high, 'size')} at √(d/n); Δ < 0 in "
        f"{_show_negative(low)} of draws. It goes to 0 with ε/√(d/n), as the theorem says."
    )


def _describe_few(rows: list[dict[str, Any]]) -> str:
    """Describe d << sqrt(n), where Delta is mostly noise, with d growing."""
    own = [row for row in rows if row["regime"] == GROWING.name and row["line"] != "kappa"]
    if not own:
        return ""
    values = "; ".join(
        f"n = {row['n']}, d = {row['d']}, ε = {row['kappa']:.2f} √(d/n): {_show(row, 'size')}, "
        f"Δ < 0 in {_show_negative(row)}"
        for row in own
    )
    return (
        "Nor does it hold for d ≪ √n if d grows: Δ is mostly noise of order σ²√(2/n) there, so "
        "that |rise/Δ| is of order κ √d, κ = ε/√(d/n). Along d = n^⅖ and ε = (d/n)^¾ that is "
        f"n^0.05, though κ → 0; median |rise/Δ|: {values}."
    )


def _describe_counterexample(rows: list[dict[str, Any]]) -> str:
    """Describe a sequence of epsilon far below sqrt(d / n) along which the ratio grows."""
    own = [row for row in rows if row["regime"] == BETWEEN.name and row["line"] != "kappa"]
    first, last = own[0], own[-1]
    values = "; ".join(
        f"n = {row['n']}, d = {row['d']}, ε = {row['kappa']:.2f} √(d/n): {row['median']:.3f} "
        f"[{row['median_low']:.3f}, {row['median_high']:.3f}], limit {row['limit']:.3f}"
        for row in own
    )
    difference = last["ratio_of_means"] - first["ratio_of_means"]
    error = math.hypot(
        first["ratio_of_means_standard_error"], last["ratio_of_means_standard_error"]
    )
    return (
        "Theorem 2 FAILS for √n ≪ d ≪ n. Along d = n^⅔ and ε = (d/n)^¾, where ε/√(d/n) falls to "
        f"0, the theorem says that |R̂(0) − R̂(ε)|/Δ → 0; its median (95 % interval) is {values}. "
        f"The ratio of means grows by {difference:.3f} ± {error:.3f}, "
        f"{difference / error:.0f} standard errors."
    )


def _describe_fixed_kappa(rows: list[dict[str, Any]]) -> str:
    """Describe the growth at a fixed multiple of sqrt(d / n)."""
    own = [row for row in rows if row["regime"] == BETWEEN.name and row["line"] == "kappa"]
    own = [row for row in own if abs(row["kappa"] - 0.1) < 1e-6]
    values = "; ".join(
        f"n = {row['n']}: {_show(row, 'median')} (first order {row['first_order']:.3f}, limit "
        f"{row['limit']:.3f})"
        for row in own
    )
    return (
        f"At ε = 0.1 √(d/n) the median rise/Δ is {values}: it grows like "
        "0.8 κ (|θ₀|/σ) √(n/d), the first-order prediction."
    )


def _show(row: dict[str, Any], name: str) -> str:
    return f"{row[name]:.3g} [{row[name + '_low']:.3g}, {row[name + '_high']:.3g}]"


def _show_negative(row: dict[str, Any]) -> str:
    share, low, high = (100 * row[f"share_negative_gap{end}"] for end in ("", "_low", "_high"))
    return f"{share:.0f} % [{low:.0f}, {high:.0f}]"


STUDY = Study(
    "theorem2",
    "Theorem 2: rise of the train loss over the generalisation gap",
    run_theorem2,
    (55, 600),
)
