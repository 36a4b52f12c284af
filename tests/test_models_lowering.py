"""Training programs of the large residual networks, four lanes, lower for every platform."""

from __future__ import annotations

import jax
import jax.export
import jax.numpy as jnp
import pytest
from small_problem import small_config

from phase_jax.losses import build_objective
from phase_jax.models import build_model
from phase_jax.sweep import map_lanes
from phase_jax.training import TrainData
from phase_jax.training.lane import make_lane_fns

NUM_LANES = 4


def lower(name, options, objective="vanilla"):
    model = build_model(
        name,
        num_classes=10,
        input_shape=(32, 32, 3),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        conv_form="lax",
        **options,
    )
    images = jax.ShapeDtypeStruct((40, 32, 32, 3), jnp.uint8)
    labels = jax.ShapeDtypeStruct((40,), jnp.int32)
    config = small_config(training={"batch_size": 16, "augmentation": "crop_flip"})
    lane = make_lane_fns(config, model, build_objective(objective), pixel_scale=255.0)

    def run_lane(key, epsilon, data):
        return lane.run_epochs(lane.init(key), epsilon, data, 1)[1]

    mapped = jax.jit(map_lanes(run_lane, width=NUM_LANES, num_shared=1))
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), NUM_LANES))
    return jax.export.export(mapped, platforms=("cpu", "cuda", "tpu"))(
        keys,
        jax.ShapeDtypeStruct((NUM_LANES,), jnp.float32),
        TrainData(images, labels, images, labels),
    )


@pytest.mark.parametrize(
    ("name", "options", "objective"),
    [
        ("preactresnet18", {}, "vanilla"),
        ("wideresnet34", {"width": 10}, "vanilla"),
        pytest.param("preactresnet10", {"width": 4}, "trades", marks=pytest.mark.slow),
        pytest.param("preactresnet18", {"dtype": "bfloat16"}, "mart", marks=pytest.mark.slow),
    ],
)
def test_training_programs_lower_for_every_platform(name, options, objective):
    exported = lower(name, options, objective)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert {value.shape for value in exported.out_avals} == {(NUM_LANES, 1)}
