"""Where would adversarial training of *your* trained network stop being like clean training?

A small Flax NNX network, trained on images made with NumPy, and one call: `phase_jax.diagnose`.
Put your own in their places. Given the class, `Network`, `diagnose` trains it itself.

    python examples/own_model.py [DIRECTORY]

Half a minute on one CPU core. Prints the verdict and the losses behind it; with a directory it
also leaves there what every run leaves: `report.html`, tables, plots.
"""

import sys

import numpy as np
import optax
from flax import nnx

from phase_jax import FineTuningConfig, cross_entropy, diagnose


class Network(nnx.Module):
    """Two layers; takes images [B, 8, 8, 1] with pixels in [0, 1], and standardises them itself."""

    def __init__(self, rngs):
        self.hidden, self.out = nnx.Linear(64, 32, rngs=rngs), nnx.Linear(32, 3, rngs=rngs)

    def __call__(self, x):
        """Compute logits [B, 3]."""
        return self.out(nnx.relu(self.hidden((x.reshape(len(x), -1) - 0.5) / 0.25)))


@nnx.jit
def update(model, optimizer, x, labels):
    """Take one step of clean training."""
    grads = nnx.grad(lambda model: cross_entropy(model(x), labels).mean())(model)
    optimizer.update(model, grads)


rng = np.random.default_rng(0)
labels = rng.integers(0, 3, 600)
patterns = rng.normal(0.5, 0.06, (3, 8, 8, 1))  # one for each class, under noise
images = rng.normal(patterns[labels], 0.2).clip(0, 1)
train, test = (images[:300], labels[:300]), (images[300:], labels[300:])

model = Network(nnx.Rngs(0))
optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)
for _ in range(500):
    update(model, optimizer, *train)

epsilon = 8 / 255
grid = (epsilon / 4, epsilon / 2, epsilon)
tuning = FineTuningConfig(grid, attacks=("pgd",), num_epochs=20, learning_rate=0.01)
diagnosis = diagnose(model, train, test, epsilon=epsilon, fine_tuning=tuning)
print(diagnosis)
print(f"\nclean test loss of the clean model: {diagnosis.curve.threshold:.4f}")
for strength, loss in zip(diagnosis.curve.epsilons, diagnosis.curve.train_loss, strict=True):
    print(f"train loss at {255 * strength:.1f}/255: {loss:.4f}")
if sys.argv[1:]:
    print("open", diagnosis.save(sys.argv[1]).with_name("report.html"))
