"""Make tests/goldens/losses.npz with PyTorch, in float64. Run this file as a script.

Only outputs are stored. Weights and inputs are drawn from NumPy by `draw_problem`, here and in the
tests. The tests do not need PyTorch.
"""

from __future__ import annotations

import pathlib

import numpy as np

PATH = pathlib.Path(__file__).with_name("losses.npz")
NUM_EXAMPLES, SHAPE, NUM_HIDDEN, NUM_CLASSES = 12, (4, 4, 3), 10, 5
BETAS = {"trades": 6.0, "mart": 5.0}
PGD = {"linf": (0.1, 0.03), "l2": (0.8, 0.2)}  # radius and step length, pixels in [0, 1]
NUM_STEPS = 6
EPOCHS, STEPS_PER_EPOCH = 4, 2
OPTIMIZERS = {"sgd": 0.1, "adam": 0.01}  # learning rates
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4


def draw_problem():
    """Return weights of a two-layer tanh network, images, perturbed images and labels."""
    rng = np.random.default_rng(2022)
    num_pixels = int(np.prod(SHAPE))
    weights = {
        "w1": rng.normal(0, 0.5, (num_pixels, NUM_HIDDEN)),
        "b1": rng.normal(0, 0.5, NUM_HIDDEN),
        "w2": rng.normal(0, 1.0, (NUM_HIDDEN, NUM_CLASSES)),
        "b2": rng.normal(0, 0.5, NUM_CLASSES),
    }
    images = np.clip(rng.normal(0.5, 0.5, (NUM_EXAMPLES, *SHAPE)), 0, 1)  # many at the bounds
    perturbed = np.clip(images + rng.uniform(-0.1, 0.1, images.shape), 0, 1)
    return weights, images, perturbed, rng.integers(0, NUM_CLASSES, NUM_EXAMPLES)


def apply_network(parameters, x):
    hidden = (x.reshape(len(x), -1) @ parameters["w1"] + parameters["b1"]).tanh()
    return hidden @ parameters["w2"] + parameters["b2"]


def compute_reference_loss(torch, name, parameters, images, perturbed, labels):
    """Compute the batch loss in the form of the reference codes."""
    functional = torch.nn.functional
    clean, attacked = apply_network(parameters, images), apply_network(parameters, perturbed)
    if name == "trades":
        divergence = functional.kl_div(
            torch.log_softmax(attacked, 1), torch.softmax(clean, 1), reduction="batchmean"
        )
        return functional.cross_entropy(clean, labels) + BETAS[name] * divergence
    p_attacked, p_clean = torch.softmax(attacked, 1), torch.softmax(clean, 1)
    largest = p_attacked.argsort(1)[:, -2:]
    rival = torch.where(largest[:, -1] == labels, largest[:, -2], largest[:, -1])
    margin = functional.nll_loss(torch.log(1.0001 - p_attacked + 1e-12), rival)
    divergence = functional.kl_div(torch.log(p_attacked + 1e-12), p_clean, reduction="none").sum(1)
    weight = 1.0000001 - p_clean.gather(1, labels[:, None])[:, 0]
    boosted = functional.cross_entropy(attacked, labels) + margin
    return boosted + BETAS[name] * (divergence * weight).mean()


def run_pgd(torch, norm, parameters, images, labels):
    """Return every iterate [T, N, ...] from the images themselves."""
    radius, length = PGD[norm]
    delta, iterates = torch.zeros_like(images), []
    for _ in range(NUM_STEPS):
        delta = delta.detach().requires_grad_()
        logits = apply_network(parameters, images + delta)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        (gradient,) = torch.autograd.grad(loss, delta)
        if norm == "linf":
            delta = (delta + length * gradient.sign()).clamp(-radius, radius)
        else:
            # The mean over the batch makes gradients smaller; their length is taken out.
            size = gradient.flatten(1).norm(dim=1)[:, None, None, None]
            delta = delta + length * gradient / (size + 1e-10)
            delta = delta.flatten(1).renorm(2, 0, radius).view_as(delta)
        delta = delta.clamp(-images, 1 - images)
        iterates.append((images + delta).detach().numpy())
    return np.stack(iterates)


def train(torch, name, parameters, images, labels):
    """Return all parameters, flat, after each step of a short clean training."""
    parameters = {key: value.clone().requires_grad_() for key, value in parameters.items()}
    rate = OPTIMIZERS[name]
    if name == "sgd":
        optimizer = torch.optim.SGD(
            parameters.values(), lr=rate, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
        )
    else:
        optimizer = torch.optim.Adam(parameters.values(), lr=rate, weight_decay=WEIGHT_DECAY)
    states = []
    for epoch in range(EPOCHS):
        for i in range(STEPS_PER_EPOCH):
            t = epoch + (i + 1) / STEPS_PER_EPOCH
            drops = (t >= EPOCHS / 2) + (t >= 3 * EPOCHS / 4)
            optimizer.param_groups[0]["lr"] = rate * 0.1**drops
            batch = slice(i * NUM_EXAMPLES // 2, (i + 1) * NUM_EXAMPLES // 2)
            optimizer.zero_grad()
            logits = apply_network(parameters, images[batch])
            torch.nn.functional.cross_entropy(logits, labels[batch]).backward()
            optimizer.step()
            flat = [value.detach().numpy().ravel() for value in parameters.values()]
            states.append(np.concatenate(flat))
    return np.stack(states)


def main():
    import torch

    weights, images, perturbed, labels = draw_problem()
    parameters = {name: torch.tensor(value) for name, value in weights.items()}
    images, perturbed, labels = map(torch.tensor, (images, perturbed, labels))
    outputs = {}
    for name in BETAS:
        leaves = {key: value.clone().requires_grad_() for key, value in parameters.items()}
        loss = compute_reference_loss(torch, name, leaves, images, perturbed, labels)
        loss.backward()
        outputs[f"{name}_loss"] = loss.item()
        outputs |= {f"{name}_{key}": value.grad.numpy() for key, value in leaves.items()}
    for norm in PGD:
        outputs[f"pgd_{norm}"] = run_pgd(torch, norm, parameters, images, labels)
    for name in OPTIMIZERS:
        outputs[name] = train(torch, name, parameters, images, labels)
    np.savez_compressed(PATH, allow_pickle=False, torch_version=str(torch.__version__), **outputs)


if __name__ == "__main__":
    main()
