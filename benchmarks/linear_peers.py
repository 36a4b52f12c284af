"""The peers of `linear.py`: NumPy, SciPy and CVXPY on the linear model, written as one would."""

from __future__ import annotations

import numpy as np
import scipy.optimize


def descend_loop(x, y, epsilons, num_steps, step_size):
    """Train replicate by replicate and attack strength by attack strength, vectors only."""
    num_replicates, num_examples, num_features = x.shape
    thetas = np.zeros((num_replicates, len(epsilons), num_steps + 1, num_features), x.dtype)
    for r in range(num_replicates):
        design, response = x[r], y[r]
        for e, epsilon in enumerate(epsilons):
            theta = thetas[r, e, 0]
            for t in range(num_steps):
                residual = response - design @ theta
                length = np.sqrt(theta @ theta)
                worst = np.abs(residual) + epsilon * length
                direction = theta / length if length > 0 else theta
                pull = (np.sign(residual) * worst) @ design / num_examples
                theta = theta - step_size * (epsilon * worst.mean() * direction - pull)
                thetas[r, e, t + 1] = theta
    return thetas


def descend_batched(x, y, epsilons, num_steps, step_size):
    """Train replicate by replicate, all attack strengths in one matrix product."""
    num_replicates, num_examples, num_features = x.shape
    thetas = np.zeros((num_replicates, num_steps + 1, num_features, len(epsilons)), x.dtype)
    for r in range(num_replicates):
        design, response = x[r], y[r][:, None]
        theta = thetas[r, 0]
        for t in range(num_steps):
            residual = response - design @ theta
            length = np.sqrt((theta * theta).sum(0))
            worst = np.abs(residual) + epsilons * length
            direction = theta / np.where(length > 0, length, 1)
            pull = design.T @ (np.sign(residual) * worst) / num_examples
            theta = theta - step_size * (epsilons * worst.mean(0) * direction - pull)
            thetas[r, t + 1] = theta
    return np.moveaxis(thetas, -1, 1)


def make_loss(x, y, epsilon, norm):
    """Return theta -> (adversarial train loss, subgradient)."""

    def measure(theta):
        residual = y - x @ theta
        if norm == "l2":
            length = np.sqrt(theta @ theta)
            direction = theta / length if length > 0 else theta
        else:
            length, direction = np.abs(theta).sum(), np.sign(theta)
        worst = np.abs(residual) + epsilon * length
        pull = (np.sign(residual) * worst) @ x / y.size
        return worst @ worst / y.size, 2 * (epsilon * worst.mean() * direction - pull)

    return measure


def make_scipy(method):
    """Return (x, y, epsilon, norm) -> loss reached by a quasi-Newton method from least squares."""
    options = {"gtol": 1e-12, "maxiter": 10_000}
    if method == "L-BFGS-B":
        options |= {"ftol": 0.0, "maxfun": 100_000}

    def solve(x, y, epsilon, norm):
        start = np.linalg.lstsq(x, y, rcond=None)[0]
        found = scipy.optimize.minimize(
            make_loss(x, y, epsilon, norm), start, jac=True, method=method, options=options
        )
        return found.fun

    return solve


def make_cvxpy(seconds):
    """Return (x, y, epsilon, norm) -> loss by CVXPY with Clarabel; None where these are missing.

    Clarabel's own seconds, without CVXPY's modelling, are appended to `seconds`.
    """
    try:
        import clarabel  # noqa: F401
        import cvxpy
    except ImportError:
        return None

    def solve(x, y, epsilon, norm):
        theta = cvxpy.Variable(x.shape[1])
        push = epsilon * cvxpy.norm(theta, 2 if norm == "l2" else 1)
        loss = cvxpy.sum_squares(cvxpy.abs(y - x @ theta) + push) / y.size
        problem = cvxpy.Problem(cvxpy.Minimize(loss))
        problem.solve(solver="CLARABEL")
        seconds.append(problem.solver_stats.solve_time)
        return make_loss(x, y, epsilon, norm)(theta.value)[0]

    return solve
