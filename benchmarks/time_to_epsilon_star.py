"""What epsilon* costs: from scratch at several schedules, by fine-tuning, with a grid of its own.

    python benchmarks/time_to_epsilon_star.py [--problem digits|mnist] [--runs DIR] [--out FILE]

`digits` takes a minute or two; `mnist` (10,000 images, mnist_cnn_small, 3 seeds; it needs MNIST as
a TFDS directory) about an hour on one CPU core. Every part is a run's directory under DIR; what is
there already is not run again, so a stopped measurement goes on. The plot lies beside the JSON.

What is compared, on the same images and the same network, seed by seed:

- from scratch: PGD at every attack strength of a grid, clean lanes with it, at several numbers of
  epochs. All others are compared with the *shortest* schedule whose epsilon* lies within the
  interval of the longest one's, so that a saving is not the ratio of two chosen schedules.
- fine-tuning (Algorithm A.1) of clean lanes trained by each schedule, for a third of its epochs at
  the same full rate: one point (the middle attack strength) or three, with PGD or FGM. The clean
  training is counted in, and so is every evaluation. At the shortest schedule also for as many
  epochs as the clean training took: an estimate that misses after few may not have settled.
- the adaptive sweep, at the shortest schedule, against an even grid that brackets as closely.

Cost is counted in example gradients (one image, one gradient, of pixels or of parameters) and in
seconds. A one-point estimate is charged the clean training and its own lanes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import pathlib

import matplotlib
import numpy as np
from timing import write_report

from phase_jax import SweepConfig, run_sweep
from phase_jax.adaptive import AdaptiveConfig, run_adaptive_sweep
from phase_jax.config import (
    AttackConfig,
    DataConfig,
    EvaluationConfig,
    FineTuningConfig,
    ModelConfig,
    TrainingConfig,
)
from phase_jax.environment import describe_environment
from phase_jax.finetune import load_fine_tuning, run_fine_tuning, write_fine_tuning
from phase_jax.finetune.configure import build_clean_config, build_tuned_config
from phase_jax.finetune.extrapolate import extrapolate
from phase_jax.report import load_run, write_result
from phase_jax.sweep.cost import count_gradients
from phase_jax.sweep.setup import prepare_data, prepare_sweep

PROBLEMS = {
    "digits": SweepConfig(
        epsilon_grid=tuple(0.015 * i for i in range(1, 8)),
        num_seeds=3,
        attack=AttackConfig(num_steps=5),
        evaluation=EvaluationConfig(num_steps=5),
    ),
    "mnist": SweepConfig(
        epsilon_grid=tuple(0.02 * i for i in range(1, 7)),
        num_seeds=3,
        data=DataConfig(name="mnist", num_train=10_000, num_test=4_000, num_selection=1_000),
        model=ModelConfig(name="mnist_cnn_small", hidden=128),
        attack=AttackConfig(num_steps=5),
        evaluation=EvaluationConfig(num_steps=5),
        training=TrainingConfig(batch_size=128, learning_rate=0.05),
    ),
}
EPOCHS = {"digits": (24, 12, 6, 3), "mnist": (8, 4, 2)}
FINE_TUNING_GRID = (4 / 255, 8 / 255, 16 / 255)
PRECISION = 0.05
READINGS = ("logged", "evaluated")
"""The train loss: averaged over the selected epoch (the default), or of its last parameters."""


def set_epochs(config, num_epochs):
    """Give a configuration another number of epochs."""
    return dataclasses.replace(
        config, training=dataclasses.replace(config.training, num_epochs=num_epochs)
    )


def count_cost(config, data, num_lanes):
    """Count example gradients of a seed's lanes: all, and those of the last evaluation."""
    sweep = prepare_sweep(config, model=None, data=data, objective=None)
    return np.array(
        [count_gradients(sweep, num_lanes), count_gradients(sweep, num_lanes, train=False)]
    )


def describe(name, estimate, cost, seconds, num_seeds, **rest):
    """Describe one way to epsilon*: what it says, and what it costs."""
    return {
        "name": name,
        **rest,
        "epsilon_star": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "status": estimate.status.name,
        "seeds": [
            seed.value if seed.status == 0 else None for seed in map(as_found, estimate.seeds)
        ],
        "gradients": int(cost[0]) * num_seeds,
        "gradients_of_last_evaluation": int(cost[1]) * num_seeds,
        "seconds": seconds,
    }


def as_found(seed):
    """Make NaN no number."""
    value = None if seed.value is None or not math.isfinite(seed.value) else float(seed.value)
    return seed._replace(value=value)


def run_scratch(config, out):
    """Train the whole grid, or read it back."""
    if not (out / "result.json").is_file():
        write_result(run_sweep(config), out)
    return load_run(out)


def measure_scratch(config, data, out):
    """Solve from scratch at one schedule, by either reading of the train loss."""
    run = run_scratch(config, out)
    cost = count_cost(config, data, len(config.epsilons))
    epochs = config.training.num_epochs
    readings = zip(READINGS, (run.epsilon_star, run.epsilon_star_other), strict=True)
    return [
        describe(
            f"from scratch, {epochs} epochs",
            estimate,
            cost,
            run.seconds["total"],
            config.num_seeds,
            kind="scratch",
            train_loss=reading,
            epochs=epochs,
        )
        for reading, estimate in readings
    ]


def measure_fine_tuning(config, data, out, epochs):
    """Train clean lanes, fine-tune them for some epochs; describe lines of one and three points."""
    tuning = FineTuningConfig(epsilon_grid=FINE_TUNING_GRID, num_epochs=epochs)
    if not (out / "result.json").is_file():
        write_fine_tuning(run_fine_tuning(config, tuning), out)
    result = load_fine_tuning(out, with_parameters=False)
    rows = []
    for reading in READINGS:
        for run in result.runs.values():
            for extrapolation in extrapolate(read_train_loss(run, reading), math.inf):
                if extrapolation.method in ("line", "regression"):
                    rows.append(describe_line(config, data, tuning, result, reading, extrapolation))
    return rows


def read_train_loss(run, reading):
    """Let a run's train loss be the logged or the evaluated one."""
    solver = dataclasses.replace(run.config.solver, train_loss=reading)
    return dataclasses.replace(run, config=dataclasses.replace(run.config, solver=solver))


def describe_line(config, data, tuning, result, reading, extrapolation):
    """Describe a line through one or all fine-tuned points, and what these points cost."""
    attack = extrapolation.attack
    num_points = 1 if extrapolation.method == "line" else len(FINE_TUNING_GRID)
    cost = count_cost(build_clean_config(config), data, 1)
    cost = cost + count_cost(build_tuned_config(config, tuning, attack), data, num_points)
    share = num_points / len(FINE_TUNING_GRID)
    epochs = config.training.num_epochs
    return describe(
        f"{attack.upper()} {num_points}, {tuning.num_epochs} epochs after {epochs}",
        extrapolation.estimate,
        cost,
        result.seconds["clean"] + result.seconds[attack] * share,
        config.num_seeds,
        kind="fine-tuning",
        train_loss=reading,
        epochs=epochs,
        fine_tuning_epochs=tuning.num_epochs,
        attack=attack,
        points=num_points,
        points_low=extrapolation.points_low,
        points_high=extrapolation.points_high,
        cautions=[c for c in result.cautions if c.startswith(attack)],
    )


def measure_adaptive(config, data, out):
    """Let the sweep find its grid, and count what an even one would take."""
    marker = out / "measured.json"
    if not marker.is_file():
        found = run_adaptive_sweep(config, AdaptiveConfig(precision=PRECISION))
        write_result(found.result, out)
        star = found.result.epsilon_star
        values = np.array([s.value for s in star.seeds if s.status == 0 and s.value])
        num_lanes = len(found.result.epsilons)
        cost = count_cost(config, data, num_lanes)
        row = describe(
            f"adaptive, {config.training.num_epochs} epochs",
            star,
            cost,
            found.result.seconds["total"],
            config.num_seeds,
            kind="adaptive",
            train_loss="logged",
            epochs=config.training.num_epochs,
            strengths=num_lanes - 1,
            rounds=len(found.rounds),
            resolution=found.resolution,
            spread_of_seeds=float(values.std(ddof=1) / values.mean()) if len(values) > 1 else None,
            fixed_gradients=found.fixed_gradients,
        )
        row["gradients"] = found.gradients  # the fine-tuning that chose where to begin counts
        row["share_of_fixed"] = found.fixed_gradients and found.gradients / found.fixed_gradients
        marker.write_text(json.dumps(row, indent=2) + "\n")
    return json.loads(marker.read_text())


def choose_reference(rows):
    """Choose the shortest schedule whose epsilon* lies within the interval of the longest's."""
    longest = max(rows, key=lambda row: row["epochs"])
    if longest["epsilon_star"] is None:
        return longest
    high = math.inf if longest["high"] is None else longest["high"]
    low = longest["low"] or 0.0
    inside = [r for r in rows if r["epsilon_star"] is not None and low <= r["epsilon_star"] <= high]
    return min(inside, key=lambda row: row["epochs"])


MARKERS = {"scratch": "o", "fine-tuning": "s", "adaptive": "D"}
LOWEST, HIGHEST = 1, 100
"""Of epsilon* in the plot, in 1/255."""


def draw(rows, out):
    """Draw epsilon* with its interval against cost, a panel a reading of the train loss."""
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, len(READINGS), figsize=(11, 5), sharex=True, sharey=True, layout="constrained"
    )
    schedules = sorted({row["epochs"] for row in rows}, reverse=True)
    for axes, reading in zip(panels, READINGS, strict=True):
        for row in rows:
            if row["train_loss"] == reading and row["epsilon_star"] is not None:
                draw_row(axes, row, f"C{schedules.index(row['epochs'])}")
        axes.set(xscale="log", yscale="log", ylim=(LOWEST, HIGHEST), xlabel="example gradients")
        axes.set_title(f"{reading} train loss", fontsize=10)
    panels[0].set_ylabel("ε* (1/255)")
    for i, epochs in enumerate(schedules):
        panels[0].plot([], [], color=f"C{i}", lw=3, label=f"clean training of {epochs} epochs")
    for kind, marker in MARKERS.items():
        panels[0].plot([], [], marker, color="0.4", label=kind)
    panels[0].plot([], [], "s", color="0.4", mfc="white", label="fine-tuning as long")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(out, dpi=120)


def draw_row(axes, row, colour):
    """Draw one way to epsilon*, and the interval from scratch as a band."""
    value, gradients = 255 * row["epsilon_star"], row["gradients"]
    if not LOWEST < value < HIGHEST:
        return
    low, high = 255 * (row["low"] or LOWEST / 255), 255 * (row["high"] or HIGHEST / 255)
    axes.errorbar(
        gradients,
        value,
        [[value - low], [high - value]],
        fmt=MARKERS[row["kind"]],
        color=colour,
        mfc="white" if row.get("fine_tuning_epochs") == row["epochs"] else colour,
        capsize=3,
        lw=1,
    )
    if row["kind"] == "scratch":
        axes.axhspan(low, high, color=colour, alpha=0.1, lw=0)
    else:
        name = row["name"].split(",")[0]
        axes.annotate(name, (gradients, value), (5, 4), textcoords="offset points", size=7)


def main():
    """Measure, compare, write JSON and a plot."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--problem", choices=PROBLEMS, default="digits")
    parser.add_argument(
        "--runs", type=pathlib.Path, default=pathlib.Path("runs/time_to_epsilon_star")
    )
    parser.add_argument("--out", type=pathlib.Path, help="by default cost.json among the runs")
    arguments = parser.parse_args()
    runs = arguments.runs / arguments.problem
    out = arguments.out or runs / "cost.json"
    base = PROBLEMS[arguments.problem]
    data = prepare_data(base, None)
    rows = []
    for epochs in EPOCHS[arguments.problem]:
        config = set_epochs(base, epochs)
        place = runs / f"scratch-{epochs}"
        rows += measure_scratch(config, data, place)
        few = max(1, epochs // 3)
        rows += measure_fine_tuning(config, data, runs / f"fine-tuning-{epochs}", few)
        print_rows(rows[-10:])
    references = {
        reading: choose_reference(
            [r for r in rows if r["kind"] == "scratch" and r["train_loss"] == reading]
        )
        for reading in READINGS
    }
    epochs = references["logged"]["epochs"]
    shortest = set_epochs(base, epochs)
    rows += measure_fine_tuning(shortest, data, runs / f"fine-tuning-{epochs}-long", epochs)
    rows.append(measure_adaptive(shortest, data, runs / f"adaptive-{epochs}"))
    for row in rows:
        reference = references[row["train_loss"]]
        row["saved"] = 1 - row["gradients"] / reference["gradients"]
        row["seconds_saved"] = 1 - row["seconds"] / reference["seconds"]
        if row["epsilon_star"] is not None and reference["epsilon_star"]:
            row["ratio_to_reference"] = row["epsilon_star"] / reference["epsilon_star"]
    report = {
        "problem": arguments.problem,
        "reference": references["logged"]["name"],
        "references": {reading: row["name"] for reading, row in references.items()},
        "rows": rows,
        "config": dataclasses.asdict(base),
        "fine_tuning_grid": FINE_TUNING_GRID,
        **describe_environment(),
    }
    write_report(report, out)
    draw(rows, out.with_suffix(".png"))
    print_rows(rows)


def print_rows(rows):
    """Print a row a way."""
    for row in rows:
        value, low, high = (
            "-" if row[name] is None else f"{255 * row[name]:.3g}"
            for name in ("epsilon_star", "low", "high")
        )
        saved = f"  saved {row['saved']:.1%} ({row['seconds_saved']:.1%})" if "saved" in row else ""
        print(
            f"{row['name']:26} {row['train_loss']:9} {value:>6}/255 ({low} to {high})  "
            f"{row['gradients'] / 1e6:8.2f} million  {row['seconds']:7.1f} s{saved}",
            flush=True,
        )


if __name__ == "__main__":
    main()
