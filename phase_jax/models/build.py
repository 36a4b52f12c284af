"""Build a network by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax

from phase_jax.config import COMPUTE_TYPES, CONV_FORMS, MODELS, RESIDUAL_MODELS
from phase_jax.models import networks
from phase_jax.models.interface import standardise_pixels, wrap_linen
from phase_jax.models.residual import build_residual_network
from phase_jax.requirements import require_integer, require_name
from phase_jax.types import InputError

if TYPE_CHECKING:
    from phase_jax.models.interface import Model

MIN_SIDES = {"mnist_cnn": 6, "mnist_cnn_small": 4, **dict.fromkeys(RESIDUAL_MODELS, 4)}
MNIST_NETWORKS = {"mnist_cnn": networks.MnistCNN, "mnist_cnn_small": networks.MnistCNNSmall}
ATTACK_PARTS = {"mnist_cnn": 16, "mnist_cnn_small": 32}
"""Images whose feature maps stay in a CPU core's cache (measured: benchmarks/README.md)."""


def build_model(
    name: str,
    *,
    num_classes: int,
    input_shape: tuple[int, ...],
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    **options: Any,
) -> Model:
    """Build a network by name.

    Args:
      name: One of `phase_jax.config.MODELS`.
      num_classes: K.
      input_shape: Shape of one image, (H, W, C); `mlp` takes any shape.
      mean: Mean of each channel, pixels in [0, 1]: the network standardises its input with it.
        By default it takes pixels as they are.
      std: Standard deviation of each channel, if and only if there is a mean.
      **options: `widths` (mlp); `hidden`, `conv_form` (MNIST networks); `width`, `dtype`,
        `conv_form` (residual networks; see `build_residual_network`). The form of convolutions is
        `lax`, `matmul`, or `auto`: `matmul` on a CPU and `lax` elsewhere.

    Returns:
      The network; its name holds the options.

    Raises:
      InputError: Unknown name or option, or images that the network cannot take.
    """
    if name == "mlp":
        model = _build_mlp(num_classes, input_shape, options)
    else:
        if name not in MODELS:
            raise InputError(f"model: {name!r} is not known; allowed: {', '.join(MODELS)}")
        _check_input_shape(name, input_shape)
        build = _build_mnist if name in MNIST_NETWORKS else _build_residual
        model = build(name, num_classes, input_shape, options)
    if mean is None and std is None:
        return model
    if len(mean or ()) != input_shape[-1]:
        raise InputError(f"mean: {mean} is not allowed; allowed: {input_shape[-1]} numbers")
    return standardise_pixels(model, mean or (), std or ())


def resolve_conv_form(form: str) -> str:
    """Choose the form of convolutions: `auto` becomes `matmul` on a CPU and `lax` elsewhere."""
    require_name("conv_form", form, CONV_FORMS)
    if form == "auto":
        return "matmul" if jax.default_backend() == "cpu" else "lax"
    return form


def _build_mlp(num_classes: int, input_shape: tuple[int, ...], options: dict[str, Any]) -> Model:
    _check_options("mlp", options, ("widths",))
    widths = options.get("widths", (64, 64))
    widths = tuple(widths) if isinstance(widths, (tuple, list)) else (widths,)
    for size in widths:
        require_integer("widths", size, 1)
    module = networks.MLP(widths, num_classes)
    return wrap_linen(module, input_shape, name=f"mlp({','.join(map(str, widths))})")


def _build_mnist(
    name: str, num_classes: int, input_shape: tuple[int, ...], options: dict[str, Any]
) -> Model:
    _check_options(name, options, ("hidden", "conv_form"))
    hidden = options.get("hidden", 128)
    require_integer("hidden", hidden, 1)
    form = resolve_conv_form(options.get("conv_form", "auto"))
    module = MNIST_NETWORKS[name](hidden, num_classes, conv_form=form)
    model = wrap_linen(module, input_shape, name=f"{name}({hidden})")
    return model._replace(attack_part=ATTACK_PARTS[name]) if form == "matmul" else model


def _build_residual(
    name: str, num_classes: int, input_shape: tuple[int, ...], options: dict[str, Any]
) -> Model:
    _check_options(name, options, ("width", "dtype", "conv_form"))
    dtype = options.get("dtype", "float32")
    require_name("dtype", dtype, COMPUTE_TYPES)
    require_integer("width", options.get("width"), 1, optional=True)
    module, width = build_residual_network(
        name,
        width=options.get("width"),
        num_classes=num_classes,
        conv_form=resolve_conv_form(options.get("conv_form", "auto")),
        dtype=dtype,
    )
    label = f"{width}" if dtype == "float32" else f"{width},{dtype}"
    return wrap_linen(module, input_shape, name=f"{name}({label})")


def _check_input_shape(name: str, input_shape: tuple[int, ...]) -> None:
    if len(input_shape) != 3 or min(input_shape[:2]) < MIN_SIDES[name]:
        raise InputError(
            f"model: {name} takes images [H, W, C] with sides of at least {MIN_SIDES[name]}; "
            f"these are {list(input_shape)}"
        )


def _check_options(name: str, options: dict[str, Any], allowed: tuple[str, ...]) -> None:
    for option in options:
        if option not in allowed:
            raise InputError(
                f"model option: {option!r} is not known for {name}; allowed: {', '.join(allowed)}"
            )
