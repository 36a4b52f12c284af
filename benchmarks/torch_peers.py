"""The same networks, attacks and training steps in plain PyTorch, and attacks by Foolbox.

Every maker returns None where the library is not installed: a missing peer is reported as missing.
"""

from __future__ import annotations

import contextlib

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError:
    torch = None

SHAPES = {"preactresnet18": (32, 32, 3)}


def build_network(name):
    """Build a network of the package in PyTorch."""
    if name == "mlp":
        body = [nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
        return nn.Sequential(*body, nn.Linear(64, 10))
    if name == "preactresnet18":
        return _build_residual()
    if name == "mnist_cnn":
        body = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
        features = 9216
    else:
        body = [nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU()]
        features = 1568
    head = [nn.Flatten(), nn.Linear(features, 128), nn.ReLU(), nn.Linear(128, 10)]
    return nn.Sequential(*body, *head)


def _build_residual():
    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.norms = nn.ModuleList([nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)])
            self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.shortcut = None
            if stride != 1 or inputs != outputs:
                self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

        def forward(self, x):
            out = functional.relu(self.norms[0](x))
            shortcut = x if self.shortcut is None else self.shortcut(out)
            out = self.second(functional.relu(self.norms[1](self.first(out))))
            return out + shortcut

    layers, inputs = [nn.Conv2d(3, 64, 3, 1, 1, bias=False)], 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(inputs, outputs, stride), Block(outputs, outputs, 1)]
        inputs = outputs
    head = [nn.BatchNorm2d(512), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, *head, nn.Linear(512, 10))


def get_device():
    """Return the accelerator's name for PyTorch, or the CPU's."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def draw_batch(name, batch):
    """Draw images and labels on the device."""
    height, width, channels = SHAPES.get(name, (28, 28, 1))
    device = get_device()
    return (
        torch.rand(batch, channels, height, width, device=device),
        torch.zeros(batch, dtype=torch.long, device=device),
    )


def step_linf(delta, gradient, epsilon):
    """Take one step of the l-infinity attack and return to its ball."""
    return (delta + 0.25 * epsilon * gradient.sign()).clamp(-epsilon, epsilon)


def step_l2(delta, gradient, epsilon):
    """Take one step of the l2 attack and return to its ball."""
    norm = gradient.flatten(1).norm(dim=1)[:, None, None, None] + 1e-10
    delta = delta + 0.25 * epsilon * gradient / norm
    size = delta.flatten(1).norm(dim=1)[:, None, None, None]
    return delta * (epsilon / size.clamp_min(1e-12)).clamp(max=1)


def attack(model, x, y, epsilon, norm, num_steps=10):
    """Attack a batch by projected gradient ascent; return the perturbation."""
    take_step = step_linf if norm == "linf" else step_l2
    delta = step_linf(torch.zeros_like(x), torch.randn_like(x), epsilon)
    for _ in range(num_steps):
        z = (x + delta).requires_grad_(True)
        loss = functional.cross_entropy(model(z).float(), y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, z)
        delta = (x + take_step(delta, gradient, epsilon)).clamp(0, 1) - x
    return delta.detach()


def prepare(name, bfloat16=False, compiled=False):
    """Build a network on the device, in the fastest layout there, compiled if asked for."""
    model = build_network(name).to(get_device())
    if bfloat16:
        model = model.to(memory_format=torch.channels_last)
    if compiled:
        mode = "reduce-overhead" if get_device() == "cuda" else "default"
        model = torch.compile(model, mode=mode)
    return model


def cast(bfloat16):
    """Compute in bfloat16, or as is."""
    if not bfloat16:
        return contextlib.nullcontext()
    return torch.autocast(get_device(), dtype=torch.bfloat16)


def synchronise():
    """Wait for the device."""
    if get_device() == "cuda":
        torch.cuda.synchronize()


def make_attack_run(name, batch, norm, epsilon, *, compiled=False):
    """Make a run of PGD-10 on one batch, or None."""
    if torch is None:
        return None
    model = prepare(name, compiled=compiled).eval()
    x, y = draw_batch(name, batch)

    def run():
        attack(model, x, y, epsilon, norm)
        synchronise()

    return try_once(run)


def make_foolbox_run(name, batch, norm, epsilon):
    """Make a run of Foolbox's PGD-10 on one batch, or None."""
    if torch is None:
        return None
    try:
        import foolbox
    except ImportError:
        return None
    model = foolbox.PyTorchModel(prepare(name).eval(), bounds=(0, 1), device=get_device())
    x, y = draw_batch(name, batch)
    attacks = foolbox.attacks
    kind = attacks.LinfPGD if norm == "linf" else attacks.L2PGD
    method = kind(rel_stepsize=0.25, steps=10)

    def run():
        method.run(model, x, foolbox.criteria.Misclassification(y), epsilon=epsilon)
        synchronise()

    return try_once(run)


def make_training_run(name, batch, epsilons, *, bfloat16=False, compiled=False):
    """Make a run of one adversarial training step (PGD-10) for every attack strength, or None."""
    if torch is None:
        return None
    models = [prepare(name, bfloat16, compiled).train() for _ in epsilons]
    optimizers = [torch.optim.SGD(m.parameters(), 0.1, 0.9, weight_decay=5e-4) for m in models]
    x, y = draw_batch(name, batch)

    def run():
        for model, optimizer, epsilon in zip(models, optimizers, epsilons, strict=True):
            with cast(bfloat16):
                delta = attack(model, x, y, float(epsilon), "linf")
                optimizer.zero_grad()
                functional.cross_entropy(model(x + delta).float(), y).backward()
            optimizer.step()
        synchronise()

    return try_once(run)


def try_once(run):
    """Return a run if it works here: `torch.compile` needs a compiler."""
    try:
        run()
    except Exception as error:  # whatever a missing compiler raises
        print(f"peer left out: {type(error).__name__}: {str(error).splitlines()[0]}")
        return None
    return run
