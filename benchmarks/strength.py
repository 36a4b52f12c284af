"""Measure how strong the attack is: robust accuracy under our PGD beside AutoAttack's.

    python benchmarks/strength.py [--problems digits mnist] [--images 500] [--out FILE]

Small networks are trained clean and adversarially, and carried into PyTorch weight by weight; both
sides must give the same logits. Then every attack meets the same test images at the same strength:
PGD-10 and PGD-50 with 5 restarts (ours), PGD-50 (Foolbox), and AutoAttack's standard set (APGD-CE,
APGD-T, FAB-T, Square). AutoAttack stops at the first success of four attacks, three of which look
for errors rather than for loss, so that its accuracy is a bound from below for ours. `mnist` needs
MNIST as a TFDS directory. A peer that is not installed is reported as missing.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import time

import jax
import numpy as np
from timing import write_report

from phase_jax import SweepConfig, pgd, run_sweep
from phase_jax.config import AttackConfig, DataConfig, ModelConfig, TrainingConfig
from phase_jax.environment import describe_environment
from phase_jax.losses import cross_entropy
from phase_jax.sweep.setup import prepare_data, prepare_model

PROBLEMS = {
    "digits": SweepConfig(epsilon_grid=(0.05, 0.1), num_seeds=1),
    "mnist": SweepConfig(
        epsilon_grid=(0.1,),
        num_seeds=1,
        data=DataConfig(name="mnist", num_train=5_000),
        model=ModelConfig(name="mnist_cnn_small", hidden=128),
        attack=AttackConfig(num_steps=5),
        training=TrainingConfig(num_epochs=6, batch_size=128, learning_rate=0.05),
    ),
}
"""Clean training is a lane of its own; each network is attacked at every strength of the grid."""


def port(params):
    """Carry a network of dense and stride-2 convolutional layers into PyTorch."""
    import torch
    from torch import nn

    def load(layer, kernel, bias):
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(np.ascontiguousarray(kernel)))
            layer.bias.copy_(torch.tensor(np.asarray(bias)))
        return layer

    class FlattenLast(nn.Module):
        def forward(self, x):
            return x.movedim(1, -1).flatten(1)

    names = sorted(params, key=lambda name: ("conv" not in name.lower(), name))
    layers, flat = [], False
    for name in names:
        kernel, bias = np.asarray(params[name]["kernel"]), params[name]["bias"]
        if kernel.ndim == 4:
            height, _, inputs, outputs = kernel.shape
            layer = nn.Conv2d(inputs, outputs, height, 2, 1)
            layers += [load(layer, kernel.transpose(3, 2, 0, 1), bias), nn.ReLU()]
            continue
        if not flat:
            layers, flat = [*layers, FlattenLast()], True
        layers += [load(nn.Linear(*kernel.shape), kernel.T, bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def attack_with_ours(classify, images, labels, epsilon, num_steps, num_restarts):
    """Return which images are still classified correctly under our PGD."""

    @jax.jit
    def run(x, y, key):
        def loss_fn(z):
            return cross_entropy(classify(z), y)

        options = {"num_steps": num_steps, "num_restarts": num_restarts}
        moved = pgd(loss_fn, x, key, epsilon=epsilon, **options)
        return classify(moved).argmax(-1) == y

    return np.asarray(run(images, labels, jax.random.key(0)))


def attack_with_autoattack(network, images, labels, epsilon):
    """Return which images withstand AutoAttack's standard set."""
    import torch
    from autoattack import AutoAttack

    x = torch.tensor(np.moveaxis(images, -1, 1).copy())
    y = torch.tensor(labels).long()
    adversary = AutoAttack(network, norm="Linf", eps=epsilon, device="cpu", verbose=False, seed=0)
    moved = adversary.run_standard_evaluation(x, y, bs=len(y))
    return (network(moved).argmax(1) == y).numpy()


def attack_with_foolbox(network, images, labels, epsilon):
    """Return which images withstand Foolbox's PGD-50."""
    import foolbox
    import torch

    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    method = foolbox.attacks.LinfPGD(rel_stepsize=0.05, steps=50)
    x = torch.tensor(np.moveaxis(images, -1, 1).copy())
    y = torch.tensor(labels).long()
    _, _, broken = method(model, x, y, epsilons=epsilon)
    return ~broken.numpy()


def measure_network(classify, network, images, labels, epsilon):
    """Attack one network in every way: robust accuracy, its standard error, seconds."""
    attacks = {
        "ours, PGD-10": lambda: attack_with_ours(classify, images, labels, epsilon, 10, 1),
        "ours, PGD-50 x 5": lambda: attack_with_ours(classify, images, labels, epsilon, 50, 5),
        "Foolbox, PGD-50": lambda: attack_with_foolbox(network, images, labels, epsilon),
        "AutoAttack": lambda: attack_with_autoattack(network, images, labels, epsilon),
    }
    row, missing, correct = {}, [], {}
    for name, attack in attacks.items():
        since = time.perf_counter()
        try:
            correct[name] = attack()
        except ImportError:
            missing.append(name)
            continue
        share = correct[name].mean()
        row[name] = {
            "robust_accuracy": float(share),
            "standard_error": float(np.sqrt(share * (1 - share) / len(labels))),
            "seconds": time.perf_counter() - since,
        }
    if "AutoAttack" in correct:
        for name, kept in correct.items():
            gap = kept.astype(float) - correct["AutoAttack"]
            row[name]["above_autoattack"] = float(gap.mean())
            row[name]["above_autoattack_error"] = float(gap.std(ddof=1) / np.sqrt(len(gap)))
    return {"epsilon": epsilon, "attacks": row, "missing": missing}


def measure_problem(name, num_images):
    """Train the networks of a problem and attack each."""
    config = PROBLEMS[name]
    dataset = prepare_data(config, None)
    model = prepare_model(config, dataset, None)
    result = run_sweep(config, data=dataset)
    images = dataset.test_images[:num_images].astype(np.float32) / dataset.pixel_scale
    labels = np.asarray(dataset.test_labels[:num_images])
    rows = []
    for index, trained in enumerate(result.epsilons):
        params, state = jax.tree.map(
            lambda a, e=index: a[e, 0], (result.params, result.model_state)
        )

        def classify(x, params=params, state=state):
            return model.apply(params, state, x, train=False)[0]

        network, gap = None, None
        try:
            import torch

            network = port(params)
            theirs = network(torch.tensor(np.moveaxis(images, -1, 1).copy())).detach().numpy()
            gap = float(np.abs(theirs - np.asarray(classify(images))).max())
            if gap > 1e-3:
                raise RuntimeError(f"{name}: the logits of the two sides differ by {gap:.2g}")
        except ImportError:
            pass
        for epsilon in config.epsilon_grid:
            row = measure_network(classify, network, images, labels, epsilon)
            rows.append(
                {"problem": name, "trained_at": float(trained), "logits_differ": gap, **row}
            )
            print(f"{name}, trained at {trained:.2f}, attacked at {epsilon}", flush=True)
            for key, value in row["attacks"].items():
                share, error = value["robust_accuracy"], value["standard_error"]
                print(f"  {key:20} {share:6.1%} +- {error:.1%}  {value['seconds']:.1f} s")
            for key in row["missing"]:
                print(f"  {key:20} missing")
    return {"images": len(labels), "config": dataclasses.asdict(result.config), "rows": rows}


def main():
    """Measure and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--images", type=int, default=500)
    arguments = parser.parse_args()
    report = {**describe_environment(), "problems": {}}
    for name in arguments.problems:
        report["problems"][name] = measure_problem(name, arguments.images)
    write_report(report, arguments.out)


if __name__ == "__main__":
    main()
