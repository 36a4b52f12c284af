"""Time whole epochs of a sweep, evaluation and data handling included, beside PyTorch.

    python benchmarks/sweep_epoch.py [--networks ...] [--epochs 2] [--out FILE]

Four attack strengths on 2,000 images (28 x 28, drawn: speed does not depend on them), batch 128,
PGD-10, and after every epoch PGD-10 on 500 images, which chooses the epoch. Ours is `run_sweep`
itself as the command line starts it; its compilation is given apart. The peer trains one model
after the other from a shuffling `DataLoader`. Numbers are training images a second: images x
epochs x attack strengths / seconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import statistics
import time

from phase_jax.cli.cores import count_cores, divide_cores

NUM_TRAIN, NUM_TEST, BATCH = 2_000, 500, 128
EPSILONS = (0.05, 0.1, 0.2)
NUM_LANES = len(EPSILONS) + 1  # and clean training


def draw_dataset():
    """Draw images and labels."""
    import numpy as np

    from phase_jax import Dataset

    generator = np.random.default_rng(0)

    def draw(number):
        images = generator.integers(0, 256, (number, 28, 28, 1), dtype=np.uint8)
        return images, np.arange(number, dtype=np.int32) % 10

    return Dataset(*draw(NUM_TRAIN), *draw(NUM_TEST))


def run_ours(name, dataset, num_epochs):
    """Run a sweep; return seconds of training with its evaluations, and of compilation."""
    from phase_jax import SweepConfig, run_sweep
    from phase_jax.config import ModelConfig

    base = SweepConfig()
    config = dataclasses.replace(
        base,
        epsilon_grid=EPSILONS,
        num_seeds=1,
        model=ModelConfig(name=name),
        data=dataclasses.replace(base.data, num_selection=NUM_TEST),
        training=dataclasses.replace(base.training, num_epochs=num_epochs, batch_size=BATCH),
    )
    result = run_sweep(config, data=dataset)
    return result.seconds["train"], result.seconds["compile"]


def run_torch(name, dataset, num_epochs):
    """Train one model after the other in PyTorch; return seconds."""
    import numpy as np
    import torch
    import torch_peers

    device = torch_peers.get_device()

    def convert(images, labels):
        pixels = torch.from_numpy(np.moveaxis(images, -1, 1).astype(np.float32) / 255)
        return torch.utils.data.TensorDataset(pixels, torch.from_numpy(labels).long())

    train = convert(dataset.train_images, dataset.train_labels)
    test = convert(dataset.test_images, dataset.test_labels)
    since = time.perf_counter()
    for epsilon in (0.0, *EPSILONS):
        model = torch_peers.prepare(name).train()
        optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9, weight_decay=5e-4)
        for _ in range(num_epochs):
            for x, y in torch.utils.data.DataLoader(train, batch_size=BATCH, shuffle=True):
                x, y = x.to(device), y.to(device)
                delta = torch_peers.attack(model, x, y, epsilon, "linf")
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(x + delta), y).backward()
                optimizer.step()
            for x, y in torch.utils.data.DataLoader(test, batch_size=NUM_TEST):
                x, y = x.to(device), y.to(device)
                delta = torch_peers.attack(model, x, y, epsilon, "linf")
                with torch.no_grad():
                    torch.nn.functional.cross_entropy(model(x + delta), y).item()
    torch_peers.synchronise()
    return time.perf_counter() - since


def main():
    """Measure and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--networks", nargs="+", default=["mlp", "mnist_cnn_small"])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    divide_cores(None, count_cores())
    import torch_peers
    from timing import measure_peak_memory, write_report

    from phase_jax.environment import describe_environment

    dataset = draw_dataset()
    report = {
        "unit": "training images a second, all attack strengths together",
        **describe_environment(),
        "rows": [],
    }
    images = NUM_TRAIN * NUM_LANES * arguments.epochs
    for name in arguments.networks:
        ours, compile_seconds, peers = [], [], []
        for _ in range(arguments.repeats):
            seconds, compiling = run_ours(name, dataset, arguments.epochs)
            ours.append(images / seconds)
            compile_seconds.append(compiling)
            if torch_peers.torch is not None:
                peers.append(images / run_torch(name, dataset, arguments.epochs))
        rates = {"ours": ours, **({"PyTorch": peers} if peers else {})}
        row = {
            "network": name,
            "images_per_second": {
                key: {"median": statistics.median(v), "min": min(v), "max": max(v)}
                for key, v in rates.items()
            },
            "compile_seconds": statistics.median(compile_seconds),
            "missing": [] if peers else ["PyTorch"],
        }
        report["rows"].append(row)
        shown = {key: round(v["median"]) for key, v in row["images_per_second"].items()}
        print(name, shown, f"compile {row['compile_seconds']:.1f} s", flush=True)
    report["peak_memory"] = measure_peak_memory()
    write_report(report, arguments.out)


if __name__ == "__main__":
    main()
