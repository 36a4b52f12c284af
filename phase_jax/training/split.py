"""Let several devices share the images of a batch, for networks too big for a lane a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
from jax.sharding import PartitionSpec

if TYPE_CHECKING:
    from jaxtyping import Array, Shaped

BATCH_AXIS = "B"


def split_batch(images: Shaped[Array, "B ..."]) -> Shaped[Array, "B ..."]:
    """Split images over the devices of a lane, if it has several; values do not change.

    What follows stays written for the whole batch: the compiler splits it likewise, and exchanges
    what sums over examples need (losses, gradients, batch statistics). A batch whose size the
    number of devices does not divide stays whole.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if BATCH_AXIS not in mesh.axis_names or len(images) % mesh.shape[BATCH_AXIS]:
        return images
    return jax.lax.with_sharding_constraint(images, PartitionSpec(BATCH_AXIS))
