"""Adversarial examples as pictures: clean, attacked, and what the attack changed."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from phase_jax.data.sources import CIFAR10_CLASSES
from phase_jax.report.page.markup import escape, show_choice, show_epsilon, show_section

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phase_jax.sweep import AdversarialExamples, SweepResult

LARGEST_SIDE = 128  # pixels; larger images are shown smaller
NUM_STRENGTHS = 4
CLASS_NAMES = {"cifar10": CIFAR10_CLASSES}
EXPLANATIONS = {
    True: "In the difference grey is no change",
    False: "The difference is blue where the attack darkens and orange where it brightens",
}
DECREASE, INCREASE = np.array([0.0, 0.35, 0.7]), np.array([0.84, 0.37, 0.0])  # blue, orange


def show_examples(result: SweepResult) -> str:
    """Show test images under attack at a few strengths, the one nearest epsilon* among them.

    Args:
      result: The sweep.

    Returns:
      A section, or nothing for a run that kept no examples.
    """
    examples = result.adversarial
    if examples is None:
        return ""
    if not _are_pictures(examples.images):
        shape = list(examples.images.shape[1:])
        text = f"<p>Inputs of shape {shape} are not pictures; adversarial.npz holds them.</p>"
        return show_section("examples", "Adversarial examples", text)
    wanted = [result.epsilon_star.value, result.config.target_epsilon]
    places = choose_strengths(result.epsilons, examples.seeds, wanted)
    chosen = places[0] if places else None
    nearest = chosen is not None and wanted[0] is not None
    names = CLASS_NAMES.get(result.description["data"]["name"])
    options = [(place, show_epsilon(float(result.epsilons[place]))) for place in sorted(places)]
    body = "".join(_show_strength(result, examples, names, place) for place in sorted(places))
    steps = result.config.evaluation.num_steps
    intro = (
        f"<p>Test images under the evaluation attack (PGD, {steps} steps) on the selected "
        f"parameters of one seed. {EXPLANATIONS[examples.images.shape[-1] == 3]}, scaled to the "
        "largest change of the picture.</p>"
    )
    if not places:
        body = "<p>No lane with a positive attack strength ended well: nothing to show.</p>"
    legend = "ε (opens at the one nearest ε*)" if nearest else "ε"
    choice = show_choice("picture", legend, options, chosen)
    controls = f'<div class="controls">{choice}</div>'
    return show_section("examples", "Adversarial examples", intro + controls + body)


def choose_strengths(
    epsilons: np.ndarray, seeds: np.ndarray, wanted: Sequence[float | None]
) -> list[int]:
    """Choose which attack strengths are shown.

    Args:
      epsilons: [E] sorted.
      seeds: [E] seed shown, negative where no lane ended well.
      wanted: Attack strengths of interest, most wanted first; None for those that do not exist.

    Returns:
      Places in `epsilons`, at most `NUM_STRENGTHS`: those nearest the wanted ones in their order,
      then the largest, the smallest and the middle of the positive ones.
    """
    usable = [int(place) for place in np.flatnonzero((epsilons > 0) & (seeds >= 0))]
    if not usable:
        return []
    gaps = [np.abs(epsilons[usable] - value) for value in wanted if value is not None]
    chosen = [usable[int(np.argmin(gap))] for gap in gaps]
    chosen += [usable[-1], usable[0], usable[len(usable) // 2]]
    return list(dict.fromkeys(chosen))[:NUM_STRENGTHS]


def encode_picture(pixels: np.ndarray) -> str:
    """Encode an image [H, W, 1] or [H, W, 3] with pixels in [0, 1] as the address of a PNG."""
    stored = np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8)
    picture = Image.fromarray(stored[..., 0] if stored.shape[-1] == 1 else stored)
    picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def colour_difference(difference: np.ndarray) -> np.ndarray:
    """Make a difference [H, W, C] visible: its largest change has full strength.

    Returns:
      [H, W, 3] pixels in [0, 1]. Colour images are shown around grey; grey ones go from white to
      blue (darker) and orange (brighter).
    """
    scaled = difference / max(float(np.abs(difference).max()), 1e-12)
    if scaled.shape[-1] == 3:
        return 0.5 + scaled / 2
    strength = np.abs(scaled)
    return 1 - strength * (1 - np.where(scaled < 0, DECREASE, INCREASE))


def _are_pictures(images: np.ndarray) -> bool:
    return (images.ndim == 4 and images.shape[-1] in (1, 3)) or images.ndim == 3


def _show_strength(
    result: SweepResult, examples: AdversarialExamples, names: Sequence[str] | None, place: int
) -> str:
    """Show every example at one attack strength."""
    items = []
    images, attacked = (
        array[..., None] if examples.images.ndim == 3 else array
        for array in (examples.images, examples.adversarial[place])
    )
    for m, label in enumerate(examples.labels):
        change = attacked[m] - images[m]
        largest = f"largest change {255 * np.abs(change).max():.3g}/255"
        clean = _caption(examples.clean_probabilities[place, m], int(label), names)
        fooled = _caption(examples.probabilities[place, m], int(label), names)
        truth = _name_class(int(label), names)
        items.append(
            '<li class="card"><div class="three">'
            + _show_figure(images[m], f"clean image of {truth}", "clean", clean)
            + _show_figure(attacked[m], f"attacked image of {truth}", "attacked", fooled)
            + _show_figure(colour_difference(change), "what changed", "difference", largest)
            + "</div></li>"
        )
    epsilon = show_epsilon(float(result.epsilons[place]))
    seed = (
        f'<p class="soft">Seed {examples.seeds[place]}, trained and attacked at ε = {epsilon}.</p>'
    )
    return (
        f'<div class="strength" data-place="{place}"><h3>ε = {epsilon}</h3>{seed}'
        f'<ul class="pictures">{"".join(items)}</ul></div>'
    )


def _show_figure(pixels: np.ndarray, alt: str, title: str, caption: str) -> str:
    return (
        f'<figure><img alt="{escape(alt)}" src="{encode_picture(pixels)}">'
        f"<figcaption><b>{title}</b>{caption}</figcaption></figure>"
    )


def _caption(probabilities: np.ndarray, label: int, names: Sequence[str] | None) -> str:
    """Say what the network takes an image for, and whether it is right."""
    predicted = int(np.argmax(probabilities))
    text = f"taken for {_name_class(predicted, names)} ({probabilities[predicted]:.0%})"
    if predicted == label:
        return f"{text}, right"
    return f'<span class="wrong">{text}, wrong</span>'


def _name_class(place: int, names: Sequence[str] | None) -> str:
    return names[place] if names else str(place)
