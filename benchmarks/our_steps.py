"""Our side of the benchmarks: compiled training steps and attacks over lanes, and their work."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh
from timing import compile_timed

from phase_jax import SweepConfig, build_model
from phase_jax.attacks import make_attack
from phase_jax.config import RESIDUAL_MODELS
from phase_jax.losses import VANILLA, cross_entropy
from phase_jax.sweep.lanes import AXIS, LaneLayout
from phase_jax.training.optimizer import build_optimizer
from phase_jax.training.parts import attack_in_parts
from phase_jax.training.step import make_step

SHAPES = {"preactresnet18": (32, 32, 3)}
ATTACK_STEPS = 10


def get_shape(name):
    """Return the shape of a network's images."""
    return SHAPES.get(name, (28, 28, 1))


def build(name, *, conv_form="auto", dtype="float32"):
    """Build one of the package's networks."""
    options = {} if name == "mlp" else {"conv_form": conv_form}
    if name in RESIDUAL_MODELS:
        options["dtype"] = dtype
    return build_model(name, num_classes=10, input_shape=get_shape(name), **options)


def draw_images(name, batch):
    """Draw stored images and labels."""
    shape = (batch, *get_shape(name))
    images = jax.random.randint(jax.random.key(1), shape, 0, 256).astype(jnp.uint8)
    return images, jnp.zeros(batch, jnp.int32)


def lay_out_on(num_lanes, width, num_devices):
    """Lay lanes out on the first devices."""
    devices = np.asarray(jax.devices()[:num_devices])
    return LaneLayout(num_lanes, width, Mesh(devices, (AXIS,), axis_types=(AxisType.Auto,)))


def make_training_run(name, batch, epsilons, *, width, num_devices=1, dtype="float32", form="auto"):
    """Make a run of one adversarial training step (PGD-10) of every lane, state carried along.

    Returns:
      The run, and the seconds it took to compile.
    """
    base = SweepConfig()
    config = dataclasses.replace(
        base, training=dataclasses.replace(base.training, batch_size=batch)
    )
    model = build(name, conv_form=form, dtype=dtype)
    optimizer = build_optimizer(config.training, 100)
    step = make_step(config, model, VANILLA, optimizer, pixel_scale=255.0)
    layout = lay_out_on(len(epsilons), width, num_devices)

    def start(key):
        params, state = model.init(key)
        return params, state, optimizer.init(params)

    keys = jax.random.split(jax.random.key(0), len(epsilons))
    carry = jax.jit(layout.map(start))(layout.spread(keys))

    def lane(carry, key, epsilon, images, labels):
        carry, info = step(carry, epsilon, images, labels, jnp.ones(batch), key)
        return carry, info.loss

    arguments = (
        carry,
        layout.spread(keys),
        layout.spread(np.asarray(epsilons, np.float32)),
        *layout.share(draw_images(name, batch)),
    )
    compiled, seconds = compile_timed(layout.map(lane, num_shared=2), *arguments)
    return lambda: compiled(*arguments), seconds


def make_attack_run(name, batch, norm, epsilons, *, width, num_devices=1):
    """Make a run of PGD-10, as training attacks, for every strength; also compile seconds."""
    model = build(name)
    layout = lay_out_on(len(epsilons), width, num_devices)
    params, state = model.init(jax.random.key(0))
    images, labels = draw_images(name, batch)
    attack = make_attack("pgd", norm=norm, num_steps=ATTACK_STEPS, step_length=2.5 / ATTACK_STEPS)

    def lane(key, epsilon, params, state, x, labels):
        def make_loss_fn(labels):
            return lambda z: cross_entropy(model.apply(params, state, z, train=False)[0], labels)

        return attack_in_parts(
            attack, make_loss_fn, x, labels, key, epsilon=epsilon, size=model.attack_part
        )

    arguments = (
        layout.spread(jax.random.split(jax.random.key(0), len(epsilons))),
        layout.spread(np.asarray(epsilons, np.float32)),
        *layout.share((params, state, images / 255.0, labels)),
    )
    compiled, seconds = compile_timed(layout.map(lane, num_shared=4), *arguments)
    return lambda: compiled(*arguments), seconds


def count_forward_flops(name, batch):
    """Count the operations of one forward pass of a batch, as XLA counts its own convolutions."""
    model = build(name, conv_form="lax")
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((batch, *get_shape(name)), jnp.float32)
    lowered = jax.jit(lambda p, s, x: model.apply(p, s, x, train=False)[0]).lower(*shapes, x)
    return float(lowered.compile().cost_analysis()["flops"])


def count_flops(name, batch, *, descend):
    """Count the operations of PGD-10 (a forward pass and as much back), and of a descent (3)."""
    return count_forward_flops(name, batch) * (2 * ATTACK_STEPS + (3 if descend else 0))
