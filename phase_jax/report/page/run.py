"""The content of one run's page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from phase_jax.report.document import build_document
from phase_jax.report.page.curves import find_shown, list_readings
from phase_jax.report.page.markup import (
    escape,
    show_choice,
    show_details,
    show_epsilon,
    show_section,
    show_select,
    show_table,
)
from phase_jax.report.page.pictures import show_examples
from phase_jax.report.page.scale import ScaleRow, show_scale, show_star
from phase_jax.report.page.transition import show_transition
from phase_jax.report.table import tabulate_strengths
from phase_jax.report.wording import (
    describe_cautions,
    describe_outcome,
    format_duration,
    format_epsilon,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from phase_jax.report.transition import Transition
    from phase_jax.sweep import SweepResult

AXES = (("linear", "linear"), ("log", "log"))
QUANTITIES = (("loss", "loss"), ("accuracy", "accuracy"))
FILES = (
    ("result.json", "ε*, interval, threshold, lanes, configuration, environment"),
    ("lanes.csv", "one row a lane"),
    ("history.npz", "losses and accuracies per epoch, [E, S, T]"),
    ("examples.npz", "losses per test image, [E, S, N]"),
    ("adversarial.npz", "the attacked test images of this page, [E, N, ...]"),
    ("parameters", "selected parameters of every lane (an orbax checkpoint)"),
    ("loss_curve.svg", "loss against ε, also as PNG"),
    ("learning_curves.svg", "learning curves, also as PNG"),
    ("overfitting.csv", "generalisation gap of every lane and epoch"),
    ("overfitting.svg", "the same drawn, also as PNG"),
    ("transition.csv", "how far models are from the clean ones"),
    ("transition.svg", "the same drawn, also as PNG"),
)


def name_run(result: SweepResult) -> str:
    """Name a run by its data, network and attack."""
    config, names = result.config, result.description
    norm = {"linf": "ℓ∞", "l2": "ℓ2"}[config.attack.norm]
    parts = [
        names["data"]["name"],
        names["model"]["name"],
        f"{config.attack.name.upper()}\N{NO-BREAK SPACE}{norm}",
    ]
    if names["objective"] != "vanilla":
        parts.insert(2, names["objective"])
    return " · ".join(parts)


def summarise_run(result: SweepResult) -> str:
    """Say in a line how large a run was."""
    num_seeds = len(result.seeds)
    epochs = result.history["train_loss"].shape[2]
    device = result.environment["device"].get("kind", result.environment["device"]["backend"])
    return (
        f"{result.description['data']['num_train']:,} training images, {len(result.epsilons)} "
        f"attack strengths × {num_seeds} seed{'s' if num_seeds > 1 else ''}, {epochs} "
        f"epoch{'s' if epochs > 1 else ''}; {format_duration(result.seconds['total'])} on {device}"
    )


def show_run(
    result: SweepResult,
    transition: Transition,
    pictures: Iterable[tuple[str, bytes]],
    *,
    has_files: bool,
) -> str:
    """Show everything about a run.

    Args:
      result: The sweep.
      transition: How far its models are from the clean ones.
      pictures: What each figure of its study of connectivity shows, and its PNG file.
      has_files: Whether the run's files lie beside the page.

    Returns:
      HTML, without the script's part.
    """
    document = build_document(result)
    return "".join(
        (
            _show_verdict(result),
            _show_curves(result),
            _show_learning(result),
            show_transition(transition, pictures),
            show_examples(result),
            _show_numbers(result),
            _show_origin(result, document, has_files=has_files),
        )
    )


def _show_verdict(result: SweepResult) -> str:
    """Show epsilon*, its interval, the sentence, and every reading on the scale."""
    star = result.epsilon_star
    names = [reading["title"] for reading in list_readings(result)]
    estimates = [star, result.epsilon_star_other]
    if result.cross_entropy is not None:
        estimates.append(result.cross_entropy.epsilon_star)
    rows = [
        ScaleRow(escape(name), estimate, result.epsilons.tolist(), result.config.target_epsilon)
        for name, estimate in zip(names, estimates, strict=True)
    ]
    cautions = "".join(f"<li>{escape(text)}</li>" for text in describe_cautions(result))
    return (
        '<section class="card verdict" aria-label="Verdict">\n'
        f'<p class="star">ε* {"= " if star.value is not None else ""}{show_star(star)}</p>\n'
        f'<p class="sentence">{escape(_lift(describe_outcome(result)))}</p>\n'
        f"{show_scale(rows)}\n"
        + (f'<ul class="cautions" aria-label="Cautions">{cautions}</ul>\n' if cautions else "")
        + "</section>\n"
    )


def _lift(sentence: str) -> str:
    """Begin a sentence with a capital, unless it begins with a symbol."""
    return sentence if sentence.startswith("epsilon") else sentence[0].upper() + sentence[1:]


def _show_curves(result: SweepResult) -> str:
    readings = [(place, escape(r["title"])) for place, r in enumerate(list_readings(result))]
    seeds = "thin lines are seeds, thick ones their mean" if len(result.seeds) > 1 else "one seed"
    body = (
        "<p>ε* is where the adversarial <em>train</em> loss reaches the threshold, the clean "
        f"<em>test</em> loss of the clean model; {seeds}. Point at a chart, or focus it and use "
        "the arrow keys; a click chooses the learning curves below.</p>\n"
        '<div class="controls js-only">'
        f"{show_select('reading', 'Loss', readings, 0)}"
        f"{show_choice('axis', 'ε axis', AXES, 'linear')}</div>\n"
        '<div class="charts"><div class="card chart" id="losses"></div>'
        '<div class="card chart" id="accuracies"></div></div>'
    )
    return show_section("curves", "Loss and accuracy against ε", body)


def _show_learning(result: SweepResult) -> str:
    strengths = [(e, format_epsilon(epsilon)) for e, epsilon in enumerate(result.epsilons)]
    seeds = [
        ("all", "all, and their mean"),
        *((s, str(seed)) for s, seed in enumerate(result.seeds)),
    ]
    body = (
        "<p>Train values are logged during training, under the training attack; test values are "
        "those of the images that choose the epoch, under the evaluation attack.</p>\n"
        '<div class="controls js-only">'
        f"{show_select('strength', 'ε', strengths, find_shown(result))}"
        f"{show_select('seed', 'Seed', seeds, 'all')}"
        f"{show_choice('quantity', 'Show', QUANTITIES, 'loss')}</div>\n"
        '<div class="card chart" id="learning"></div>'
    )
    return show_section("lanes", "Learning curves", body)


def _show_numbers(result: SweepResult) -> str:
    header, rows = tabulate_strengths(result)
    shown = [
        [show_epsilon(float(epsilon)), *map(escape, row[1:])]
        for epsilon, row in zip(result.epsilons, rows, strict=True)
    ]
    caption = "Means over the seeds whose lanes ended well, selected epoch"
    return show_section("numbers", "Numbers", show_table(header, shown, caption=caption))


def _show_origin(result: SweepResult, document: dict[str, Any], *, has_files: bool) -> str:
    """Show what would be needed to run it again, and where the files are."""
    data, seconds = document["data"], document["seconds"]
    facts = {
        "data": data,
        "model": document["model"],
        "objective": document["objective"],
        "interval": result.epsilon_star.interval_method,
    }
    run = {name: document[name] for name in ("versions", "device", "revision")}
    run["seconds"] = {name: round(value, 1) for name, value in seconds.items()}
    files = [(_link(name, has_files), escape(text)) for name, text in FILES]
    return show_section(
        "origin",
        "How it was made",
        show_details("Data, network and interval", tabulate_fields(facts))
        + show_details("Configuration", tabulate_fields(document["config"]))
        + show_details("Environment and time", tabulate_fields(run))
        + show_details(
            "Files", show_table((), files, caption="In the directory of the run", kind="text")
        ),
    )


def _link(name: str, has_files: bool) -> str:
    return f'<a href="{name}">{name}</a>' if has_files and "." in name else f"<code>{name}</code>"


def tabulate_fields(tree: dict[str, Any]) -> str:
    """Show nested plain data as a table of names and values."""
    rows = [(f"<code>{escape(name)}</code>", escape(text)) for name, text in flatten_fields(tree)]
    return show_table((), rows, caption="", kind="text")


def flatten_fields(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted name and the value, as text, of every leaf of nested dicts."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flatten_fields(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{prefix}{name}", text
