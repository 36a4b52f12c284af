"""The reference solver of the linear model's tests: CVXPY with Clarabel, tightened."""

from __future__ import annotations

import cvxpy
import numpy as np
from scipy.optimize import brentq

TIGHT = {"tol_gap_abs": 1e-13, "tol_gap_rel": 1e-13, "tol_feas": 1e-13, "max_iter": 200}


def minimise_conic(x: np.ndarray, y: np.ndarray, epsilon: float, norm: str) -> np.ndarray:
    """Minimise the adversarial train loss; return theta."""
    theta = cvxpy.Variable(x.shape[1])
    worst = cvxpy.abs(y - x @ theta) + epsilon * cvxpy.norm(theta, {"l2": 2, "linf": 1}[norm])
    problem = cvxpy.Problem(cvxpy.Minimize(cvxpy.norm(worst, 2)))
    problem.solve(solver=cvxpy.CLARABEL, **TIGHT)
    return theta.value


def adversarial_loss(theta, x, y, epsilon, norm):
    """Compute the loss in NumPy: mean (|r| + epsilon |theta|_q)^2."""
    length = np.linalg.norm(theta, {"l2": 2, "linf": 1}[norm])
    return np.mean((np.abs(y - x @ theta) + epsilon * length) ** 2)


def solve_epsilon_conic(x, y, threshold, norm):
    """Solve for epsilon* by bisection on conic solves."""
    order = {"l2": 2, "linf": np.inf}[norm]
    collapse = np.linalg.norm(x.T @ y, order) / np.abs(y).sum()

    def rise(epsilon):
        theta = minimise_conic(x, y, epsilon, norm)
        return adversarial_loss(theta, x, y, epsilon, norm) - threshold

    return brentq(rise, 1e-7 * collapse, collapse, rtol=1e-7)
