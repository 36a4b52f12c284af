"""Every table and figure of the paper: what it shows, which rows it has, what it needs.

No JAX: the command line lists them without waiting for it.
"""

from __future__ import annotations

import enum
import re
from typing import NamedTuple

from phase_jax.reproduce.paper import FROM_SCRATCH, UNSTABLE
from phase_jax.types import InputError


class Kind(enum.Enum):
    """What an item is made of."""

    STARS = "critical attack strengths"
    LANES = "losses and accuracies of every attack strength, and epsilon*"
    BARRIERS = "barriers between clean networks and those of every attack strength"
    GAPS = "growth of the generalisation gap at every attack strength"
    STUDIES = "studies of the linear model"
    NOTHING = "nothing to compute"


class Stage(enum.Enum):
    """What is done with a setting; the value follows its name in that of the run."""

    SWEEP = ""
    FINE_TUNING = "-finetune"
    CONNECTION = "-connectivity"


class Item(NamedTuple):
    """A table or figure.

    Attributes:
      title: One line.
      kind: What it is made of.
      rows: Settings, or studies of `phase_jax.simulate`, by name.
      methods: For STARS: the quantities printed for every row.
      epsilons_255: For LANES and BARRIERS: the attack strengths printed; all where empty.
    """

    title: str
    kind: Kind
    rows: tuple[str, ...] = ()
    methods: tuple[str, ...] = (FROM_SCRATCH,)
    epsilons_255: tuple[float, ...] = ()


PREACT = "cifar10-preactresnet18"
FINE_TUNED = (f"{PREACT}-10k-linf", f"{PREACT}-50k-l2", f"{PREACT}-50k-linf")
FINE_TUNING = tuple(f"finetune_{attack}_{points}" for attack in ("pgd", "fgm") for points in (1, 3))
FGM_ROWS = {f"{PREACT}-{size}-linf": f"{PREACT}-{size}-linf-fgm" for size in ("10k", "50k")}
"""Rows of Table 2, and the settings that say from where on FGM is unstable."""
TRAINED = (Kind.STARS, Kind.LANES, Kind.BARRIERS, Kind.GAPS)
"""Kinds whose rows are settings."""
PRINTED = (Kind.STARS, Kind.LANES)
"""Kinds of which the paper prints losses."""

CONNECTED = "figure4"

ITEMS = {
    "table1": Item(
        "Adversarial training of PreActResNet18 on CIFAR-10",
        Kind.LANES,
        (f"{PREACT}-50k-linf",),
        epsilons_255=(0, 0.5, 1, 2),
    ),
    "table2": Item(
        "Catastrophic overfitting of FGM: epsilon* and the first unstable epsilon",
        Kind.STARS,
        tuple(FGM_ROWS),
        methods=(FROM_SCRATCH, UNSTABLE),
    ),
    "table3": Item(
        "epsilon* over data sets, networks and training sizes",
        Kind.STARS,
        (
            f"{PREACT}-50k-linf",
            f"{PREACT}-10k-linf",
            "cifar10-wideresnet34-1-50k-linf",
            "cifar10-wideresnet34-10-50k-linf",
            "cifar100-preactresnet18-25k-linf",
            "cifar100-preactresnet18-50k-linf",
            "mnist-cnn128-50k-linf",
            "mnist-cnn16-50k-linf",
            "svhn-preactresnet18-50k-linf",
        ),
    ),
    "table4": Item(
        "epsilon* from scratch and by fine-tuning",
        Kind.STARS,
        FINE_TUNED,
        methods=(FROM_SCRATCH, *FINE_TUNING),
    ),
    "tableb1": Item("Set-up of Figure 2: epsilon* in two regimes", Kind.STUDIES, ("trajectory",)),
    "tableb2": Item(
        "CIFAR-10: sample size, batch size and norm",
        Kind.LANES,
        (
            f"{PREACT}-10k-linf",
            f"{PREACT}-10k-l2",
            f"{PREACT}-50k-linf",
            f"{PREACT}-50k-linf-batch256",
            f"{PREACT}-50k-l2",
        ),
    ),
    "tableb3": Item(
        "CIFAR-100 and SVHN",
        Kind.LANES,
        (
            "cifar100-preactresnet18-25k-linf",
            "cifar100-preactresnet18-50k-linf",
            "svhn-preactresnet18-50k-linf",
        ),
    ),
    "tableb4": Item(
        "CIFAR-10: WideResNet34 of width 1 and 10",
        Kind.LANES,
        ("cifar10-wideresnet34-1-50k-linf", "cifar10-wideresnet34-10-50k-linf"),
    ),
    "tableb5": Item(
        "CIFAR-10: Adam, MART and TRADES (also section 5.3.2)",
        Kind.LANES,
        (f"{PREACT}-50k-linf-adam", f"{PREACT}-50k-linf-mart", f"{PREACT}-50k-linf-trades"),
    ),
    "tableb6": Item("CIFAR-10: FGM", Kind.LANES, tuple(FGM_ROWS.values())),
    "tableb7": Item(
        "Train losses after fine-tuning, and what they extrapolate to",
        Kind.STARS,
        FINE_TUNED,
        methods=FINE_TUNING,
    ),
    "figure1": Item("Sketch of the trajectories: an illustration", Kind.NOTHING),
    "figure2": Item(
        "Linear model: paths, and p-values of the parameter",
        Kind.STUDIES,
        ("trajectory", "parameter-test"),
    ),
    "figure3": Item("Linear model: p-values of the train loss", Kind.STUDIES, ("loss-test",)),
    CONNECTED: Item(
        "Connectivity of clean and robust models",
        Kind.BARRIERS,
        (f"{PREACT}-50k-linf",),
        epsilons_255=(0, 0.5, 2, 8),
    ),
    "figure5": Item("Overfitting after the 101st epoch", Kind.GAPS, (f"{PREACT}-50k-linf",)),
    "figurea1": Item(
        "Train loss against epsilon for three data sets",
        Kind.LANES,
        (
            f"{PREACT}-50k-linf",
            "cifar100-preactresnet18-50k-linf",
            "svhn-preactresnet18-50k-linf",
        ),
    ),
    "figureb1": Item(
        "Learning rate of fine-tuning: every fine-tuned row of table4 draws it", Kind.NOTHING
    ),
}
ALL = "all"


def find_item(name: str) -> str:
    """Return the name of an item however it is spelt (`Table B.2`, `table-b2`, `tableb2`).

    Raises:
      InputError: There is no such table or figure.
    """
    plain = re.sub(r"[ ._-]", "", name).lower()
    if plain not in ITEMS and plain != ALL:
        raise InputError(f"ITEM: {name!r} is not known; allowed: list, {ALL}, {', '.join(ITEMS)}")
    return plain


def select_rows(name: str, wanted: str | None) -> tuple[str, ...]:
    """Return the rows of an item that a comma list names, all where it is None.

    Raises:
      InputError: The item does not have a row of that name.
    """
    rows = ITEMS[name].rows
    if wanted is None:
        return rows
    chosen = [row.strip() for row in wanted.split(",")]
    for row in chosen:
        if row not in rows:
            allowed = ", ".join(rows) or f"none, {name} has no rows"
            raise InputError(f"--rows: {row!r} is not a row of {name}; allowed: {allowed}")
    return tuple(row for row in rows if row in chosen)


def list_settings(name: str, rows: tuple[str, ...]) -> tuple[str, ...]:
    """List the settings that rows of an item are computed from."""
    if ITEMS[name].kind not in TRAINED:
        return ()
    methods = set(ITEMS[name].methods)
    settings = list(rows) if methods - set(FINE_TUNING) else []
    settings += [FGM_ROWS[row] for row in rows if UNSTABLE in methods]
    return tuple(settings)


def list_fine_tunings(name: str, rows: tuple[str, ...]) -> tuple[str, ...]:
    """List the settings whose clean model is fine-tuned for rows of an item."""
    return rows if set(ITEMS[name].methods) & set(FINE_TUNING) else ()


def list_connections(name: str, rows: tuple[str, ...]) -> tuple[str, ...]:
    """List the settings whose networks are connected for rows of an item."""
    return rows if ITEMS[name].kind is Kind.BARRIERS else ()


def name_fine_tuning(setting: str) -> str:
    """Name the run of the fine-tuning that starts from a setting's clean model."""
    return setting + Stage.FINE_TUNING.value


def name_connection(setting: str) -> str:
    """Name the study that connects the networks of a setting."""
    return setting + Stage.CONNECTION.value


def split_run(run: str) -> tuple[str, Stage]:
    """Split a run's name into its setting and what is done with it."""
    for stage in (Stage.FINE_TUNING, Stage.CONNECTION):
        if run.endswith(stage.value):
            return run.removesuffix(stage.value), stage
    return run, Stage.SWEEP
