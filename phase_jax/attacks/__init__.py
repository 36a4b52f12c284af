"""Adversarial attacks: pure functions of a loss, a batch of images, a key and an attack strength.

An attack is composed of a start, a step rule and a projection, chosen by the norm of the ball. It
sees the network only through `loss_fn(images) -> loss of each image`, so any JAX callable will do:

    def loss_fn(images):
        return cross_entropy(apply_fn(params, images), labels)

    adversarial = pgd(loss_fn, images, key, epsilon=8 / 255, num_steps=10)

The attack strength is an ordinary traced value: a sweep vmaps over it, nothing branches on it, and
zero gives back the images bit for bit.

    attack_fn = functools.partial(pgd, loss_fn, images, key, num_steps=10)
    adversarial = jax.vmap(lambda epsilon: attack_fn(epsilon=epsilon))(jnp.linspace(0, 0.3, 7))
"""

from phase_jax.attacks.ball import NORMS, project
from phase_jax.attacks.build import Attack, make_attack
from phase_jax.attacks.methods import fgm, gaussian, pgd

__all__ = ["NORMS", "Attack", "fgm", "gaussian", "make_attack", "pgd", "project"]
