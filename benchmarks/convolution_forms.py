"""Time one adversarial training step in both forms of convolution, lane by lane and vectorised.

    python benchmarks/convolution_forms.py [--networks mnist_cnn_small mnist_cnn] [--out FILE]

(`mnist_cnn` takes about ten minutes on 2 CPU cores.)

PGD-10, batch 128, float32, 4 lanes; each lane's step includes the attack, the gradient and the
update. The peer is XLA's own convolution (`lax`), measured in alternation with the patches form
(`matmul`) in the same process, and a plain PyTorch loop where PyTorch is installed. Numbers are
milliseconds a lane and step: medians over repeats, with the smallest and the largest.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import statistics
import time

import jax
import jax.numpy as jnp

from phase_jax import SweepConfig, build_model
from phase_jax.environment import describe_environment
from phase_jax.losses import VANILLA
from phase_jax.sweep import map_lanes
from phase_jax.training.optimizer import build_optimizer
from phase_jax.training.step import make_step

LANES, BATCH, REPEATS = 4, 128, 7


def make_ours(name, form, width):
    """Return a compiled step over all lanes and the seconds it took to compile."""
    config = SweepConfig()
    config = dataclasses.replace(
        config, training=dataclasses.replace(config.training, batch_size=BATCH)
    )
    model = build_model(name, num_classes=10, input_shape=(28, 28, 1), conv_form=form)
    optimizer = build_optimizer(config.training, 100)
    step = make_step(config, model, VANILLA, optimizer, pixel_scale=255.0)

    def lane(key, epsilon, images, labels):
        params, state = model.init(key)
        carry = (params, state, optimizer.init(params))
        return step(carry, epsilon, images, labels, jnp.ones(BATCH), key)

    keys = jax.random.split(jax.random.key(0), LANES)
    epsilons = jnp.linspace(0, 0.3, LANES)
    images = jax.random.randint(jax.random.key(1), (BATCH, 28, 28, 1), 0, 256).astype(jnp.uint8)
    arguments = (keys, epsilons, images, jnp.zeros(BATCH, jnp.int32))
    since = time.perf_counter()
    compiled = jax.jit(map_lanes(lane, width=width, num_shared=2)).lower(*arguments).compile()
    seconds = time.perf_counter() - since
    return (lambda: jax.block_until_ready(compiled(*arguments))), seconds


def make_torch(name):
    """Return the same step as a plain PyTorch loop over lanes, or None without PyTorch."""
    try:
        import torch
    except ImportError:
        return None
    nn, functional = torch.nn, torch.nn.functional

    def build():
        if name == "mnist_cnn":
            body = [
                nn.Conv2d(1, 32, 3),
                nn.ReLU(),
                nn.Conv2d(32, 64, 3),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            features = 9216
        else:
            body = [nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU()]
            features = 1568
        head = [nn.Flatten(), nn.Linear(features, 128), nn.ReLU(), nn.Linear(128, 10)]
        return nn.Sequential(*body, *head)

    lanes = [build() for _ in range(LANES)]
    optimizers = [torch.optim.SGD(m.parameters(), 0.1, 0.9, weight_decay=5e-4) for m in lanes]
    x, y = torch.rand(BATCH, 1, 28, 28), torch.zeros(BATCH, dtype=torch.long)

    def run():
        for i, (model, optimizer) in enumerate(zip(lanes, optimizers, strict=True)):
            epsilon = 0.1 * i
            delta = epsilon * (2 * torch.rand_like(x) - 1)
            for _ in range(10):
                z = (x + delta).requires_grad_(True)
                loss = functional.cross_entropy(model(z), y, reduction="sum")
                (gradient,) = torch.autograd.grad(loss, z)
                delta = (delta + 0.25 * epsilon * gradient.sign()).clamp(-epsilon, epsilon)
                delta = (x + delta).clamp(0, 1) - x
            optimizer.zero_grad()
            functional.cross_entropy(model(x + delta), y).backward()
            optimizer.step()

    return run


def measure(runs):
    """Time every run in alternation; return milliseconds a lane."""
    for run in runs.values():
        run()
    times = {name: [] for name in runs}
    for _ in range(REPEATS):
        for name, run in runs.items():
            since = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - since) / LANES)
    return {
        name: {"median": statistics.median(t), "min": min(t), "max": max(t)}
        for name, t in times.items()
    }


def main():
    """Measure the networks asked for and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--networks", nargs="+", default=["mnist_cnn_small"])
    arguments = parser.parse_args()
    out = arguments.out
    report = {
        "lanes": LANES,
        "batch": BATCH,
        "unit": "ms a lane and step",
        **describe_environment(),
    }
    for name in arguments.networks:
        runs, compile_seconds = {}, {}
        for form in ("matmul", "lax"):
            for label, width in (("one by one", 1), ("vectorised", LANES)):
                key = f"{form}, {label}"
                runs[key], compile_seconds[key] = make_ours(name, form, width)
        if peer := make_torch(name):
            runs["PyTorch loop"] = peer
        report[name] = {"step": measure(runs), "compile_seconds": compile_seconds}
        base = report[name]["step"]["matmul, one by one"]["median"]
        for key, numbers in report[name]["step"].items():
            ratio = base / numbers["median"]
            print(f"{name:16} {key:20} {numbers['median']:8.1f} ms   ours takes {ratio:.2f} x")
    text = json.dumps(report, indent=2) + "\n"
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
