"""One result of results/ as Markdown: a function for each kind of document."""

from __future__ import annotations

import numpy as np

from phase_jax.report.mean import average, format_mean
from phase_jax.report.wording import format_duration, format_epsilon

NORMS = {"linf": "ℓ∞", "l2": "ℓ2"}
LANE_COLUMNS = {
    "train_loss": "train loss",
    "evaluated_test_loss": "test loss",
    "evaluated_test_accuracy": "test accuracy",
    "clean_test_loss": "clean test loss",
    "clean_test_accuracy": "clean test accuracy",
}


def describe_result(path, document, link, notes) -> list[str]:
    """Describe one result: what was run, what came out, what there is to say, figures, origin."""
    folder, _ = link
    place = f"../results/{folder}"
    describe = DESCRIBE_FNS.get(document["kind"], describe_other)
    lines = [f"### {folder}", "", *describe(document), ""]
    lines += [notes, ""] if notes else []
    for figure in sorted(path.parent.glob("*.png")):
        name = figure.stem.replace("_", " ").replace("-", " ")
        lines += [f"![{folder}: {name}]({place}/{figure.name})", ""]
    lines += [f"Files: [{path.name}]({place}/{path.name}). {show_provenance(document)}", ""]
    return lines


def describe_sweep(document) -> list[str]:
    """Describe a sweep: its set-up, every reading of epsilon*, means of its lanes."""
    config, data = document["config"], document["data"]
    attack, training = config["attack"], config["training"]
    steps = "" if attack["name"] == "fgm" else f"-{attack['num_steps']}"
    lanes = document["lanes"]
    seeds = sorted({lane["seed"] for lane in lanes})
    objective = document["objective"]
    lines = [
        f"{data['name']}, {data['num_train']:,} training images; {document['model']['name']}; "
        f"{objective} "
        f"with {attack['name'].upper()}{steps} in {NORMS[attack['norm']]}; "
        f"{training['num_epochs']} epochs, {training['optimizer']}, learning rate "
        f"{training['learning_rate']:g}; {len(seeds)} seed{'s' if len(seeds) > 1 else ''}.",
        "",
        *tabulate_readings(document),
        "",
    ]
    lines += [f"- {escape(text)}" for text in document.get("cautions", [])]
    lines += [""] if document.get("cautions") else []
    lines += tabulate_lanes(lanes, document["epsilon_star"]["confidence"])
    return lines + describe_overfitting(document)


def describe_overfitting(document) -> list[str]:
    """Say how the generalisation gap grew, and where one-step training became unstable."""
    lines = []
    overfitting = document.get("overfitting") or {}
    if overfitting.get("reference_epoch") is not None:
        ratios = ", ".join(
            f"{row['ratio']:.2f}"
            + (f" ± {row['standard_error']:.2f}" if row["standard_error"] is not None else "")
            + f" at {format_epsilon(row['epsilon'])}"
            for row in overfitting["final_ratios"]
            if row["ratio"] is not None
        )
        if ratios:
            lines.append(
                "- Overfitting (Figure 5): generalisation gap after the last epoch over that after "
                f"epoch {overfitting['reference_epoch']}, mean ± standard error over seeds: "
                f"{ratios}."
            )
    stability = document.get("catastrophic_overfitting") or {}
    if stability.get("smallest_epsilon") is not None:
        below = "below it" if stability["epsilon_star_is_below"] else "not shown to lie below it"
        lanes = sum(lane["lasts"] for lane in stability["lanes"])
        lines.append(
            "- Catastrophic overfitting (Table 2): it begins at "
            f"{format_epsilon(stability['smallest_epsilon'])} (lasting in {lanes} lanes); ε\\* "
            f"lies {below}."
        )
    return ["", *lines] if lines else []


def tabulate_readings(document) -> list[str]:
    """List every reading of epsilon* in a table."""
    star, other = document["epsilon_star"], document["epsilon_star_other"]
    readings = [(f"{star['train_loss']} train loss", star, document["threshold"])]
    readings += [(f"{other['train_loss']} train loss", other, document["threshold"])]
    plain = document.get("cross_entropy")
    if plain:
        readings += [("cross-entropy", plain["epsilon_star"], plain["threshold"])]
    rows = [
        (
            name,
            show_star(e),
            show_interval(e),
            escape(e["interval_method"]),
            f"{level['value']:.4g}",
        )
        for name, e, level in readings
    ]
    return tabulate(("ε\\* from", "ε\\*", "interval", "interval covers", "threshold"), rows)


def tabulate_lanes(lanes, confidence) -> list[str]:
    """List means over the sound seeds of every attack strength."""
    rows = []
    for epsilon in sorted({lane["epsilon"] for lane in lanes}):
        own = [lane for lane in lanes if lane["epsilon"] == epsilon and lane["status"] == "OK"]
        means = [
            average(np.array([lane[name] for lane in own], float), confidence, floor=0.0)
            for name in LANE_COLUMNS
        ]
        rows.append((format_epsilon(epsilon), *map(format_mean, means), str(len(own))))
    header = ("ε", *LANE_COLUMNS.values(), "seeds")
    return tabulate(header, rows)


def describe_fine_tuning(document) -> list[str]:
    """Describe a fine-tuning: every extrapolation, and cautions."""
    rows = [
        (e["attack"].upper(), e["method"], show_star(e), show_interval(e))
        for e in document["extrapolations"]
    ]
    lines = [escape(document["verdict"]), ""]
    lines += tabulate(("attack", "method", "ε\\*", "interval"), rows)
    return [*lines, "", *(f"- {escape(text)}" for text in document.get("cautions", []))]


def describe_study(document) -> list[str]:
    """Describe a study of the linear model by its findings."""
    number = "full" if document["settings"]["full"] else "reduced"
    findings = [f"- {escape(text)}" for text in document["findings"]]
    return [f"{document['title']}, at its {number} numbers.", "", *findings]


def describe_findings(document) -> list[str]:
    """Describe what says itself what was found."""
    findings = [f"- {escape(text)}" for text in document["findings"]]
    return [*findings, *(f"- caution: {escape(text)}" for text in document.get("cautions", []))]


def describe_audit(document) -> list[str]:
    """Describe an audit: how far epsilon* moved, and the rise of every loss."""
    rows = [
        (
            format_epsilon(rise["epsilon"]),
            *(f"{rise[name]:.4g}" for name in ("train_loss", "train_worst")),
            f"{rise['train_rise']:.2g} ± {rise['train_rise_error']:.1g}",
            *(f"{rise[name]:.4g}" for name in ("test_loss", "test_worst")),
            f"{rise['test_rise']:.2g} ± {rise['test_rise_error']:.1g}",
        )
        for rise in document["rises"]
    ]
    header = ("ε", "train loss", "audited", "rise", "test loss", "audited", "rise")
    return [escape(document["verdict"]), "", *tabulate(header, rows)]


def describe_cost(document) -> list[str]:
    """Describe what epsilon* costs in several ways."""
    rows = [
        (
            row["name"],
            row.get("train_loss", "logged"),
            show_star(row),
            show_interval(row),
            f"{row['gradients'] / 1e6:.4g}",
            f"{row['seconds']:.0f}",
            f"{row['saved']:.1%}",
            f"{row['ratio_to_reference']:.2f}" if row.get("ratio_to_reference") else "-",
        )
        for row in document["rows"]
    ]
    header = (
        "way",
        "train loss",
        "ε\\*",
        "interval",
        "million gradients",
        "seconds",
        "saved",
        "ε\\* / reference",
    )
    return [
        f"Problem {document['problem']}; saved against {document['reference']}, the shortest "
        "schedule that agrees with the longest, by the same reading of the train loss.",
        "",
        *tabulate(header, rows),
    ]


def describe_other(document) -> list[str]:
    """Describe a kind that nothing is known of by what it says of itself."""
    return [escape(document.get("verdict") or document.get("title") or document["kind"])]


DESCRIBE_FNS = {
    "sweep": describe_sweep,
    "fine_tuning": describe_fine_tuning,
    "study": describe_study,
    "connectivity": describe_findings,
    "audit": describe_audit,
    "cost": describe_cost,
}


def show_star(estimate) -> str:
    """Show a value, or why there is none."""
    value = estimate.get("value", estimate.get("epsilon_star"))
    return estimate["status"] if value is None else format_epsilon(value)


def show_interval(estimate) -> str:
    """Show an interval."""
    low, high = estimate["low"], estimate["high"]
    if low is None:
        return "-"
    if high is None:
        return f"from {format_epsilon(low)}"
    return f"{format_epsilon(low)} to {format_epsilon(high)}"


def show_provenance(document) -> str:
    """Say where and with what a result was made."""
    device, versions = document.get("device"), document.get("versions")
    seconds = find_seconds(document)
    parts = []
    if device:
        cores = f" ({device['cpu_cores']} cores)" if device.get("backend") == "cpu" else ""
        parts.append(f"{device['count']} × {device['kind']}{cores}")
    if versions:
        parts.append(f"phase_jax {versions['phase_jax']}, jax {versions['jax']}")
    if document.get("revision"):
        parts.append(f"revision `{document['revision'][:12]}`")
    if seconds is not None:
        parts.append(format_duration(seconds))
    return "Made on " + "; ".join(parts) + "." if parts else ""


def find_seconds(document) -> float | None:
    """Find how long a result took in all, where it says so."""
    seconds = document.get("seconds")
    if not isinstance(seconds, dict):
        return seconds
    return seconds.get("total", sum(seconds.values()))


def escape(text) -> str:
    """Keep a sentence from being read as markup."""
    for sign in ("*", "|", "_", "<"):
        text = text.replace(sign, f"\\{sign}")
    return text.replace("epsilon", "ε")


def tabulate(header, rows) -> list[str]:
    """Write a table of Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]
