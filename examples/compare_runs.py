"""Does a wider network move epsilon*? Two runs, compared in numbers and on one page.

    python examples/compare_runs.py                       # trains both on scikit-learn's digits
    python examples/compare_runs.py runs/one runs/two     # reads runs that are there

Half a minute on one CPU core. Runs go to runs/width-8 and runs/width-64, the comparison to
comparison.html in the current directory.
"""

import pathlib
import sys

from phase_jax import SweepConfig, load_run, run_sweep, write_result
from phase_jax.config import DataConfig, ModelConfig, TrainingConfig
from phase_jax.report.rebuild import write_page


def train(width):
    """Train a network at four attack strengths, with two seeds each; return the directory."""
    config = SweepConfig(
        epsilon_grid=(0.02, 0.04, 0.08),  # and 0: clean training
        num_seeds=2,
        data=DataConfig(num_train=400),
        model=ModelConfig(widths=(width,)),
        training=TrainingConfig(num_epochs=15),
    )
    folder = pathlib.Path("runs", f"width-{width}")
    write_result(run_sweep(config), folder)
    return str(folder)


def show(name, result):
    """Print what a run found."""
    star = result.epsilon_star
    print(f"{name}: clean test loss {result.threshold:.4f}, epsilon* {star.status.name}")
    if star.value is not None:
        high = "no upper end" if star.high is None else f"{255 * star.high:.2f}"
        print(f"    {255 * star.value:.2f}/255 (95 %: {255 * star.low:.2f} to {high})")


folders = sys.argv[1:] or [train(8), train(64)]
runs = [(folder, load_run(folder, with_parameters=False)) for folder in folders]
for name, result in runs:
    show(name, result)
first, *others = (result.epsilon_star.value for _, result in runs)
for (name, _), value in zip(runs[1:], others, strict=True):
    if first and value:
        print(f"epsilon* of {name} is {value / first:.2f} times that of {runs[0][0]}")
print("open", write_page(folders))
