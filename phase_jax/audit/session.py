"""Run an audit for the command line: cache, progress, files, table, verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from phase_jax.audit.result import is_outside
from phase_jax.audit.run import run_audit
from phase_jax.audit.write import describe_verdict, list_rises, write_audit
from phase_jax.environment import enable_compilation_cache
from phase_jax.report.console import open_console, print_paragraph
from phase_jax.report.session import explain_memory
from phase_jax.report.wording import format_epsilon

if TYPE_CHECKING:
    import pathlib

    from rich.console import Console

    from phase_jax.audit.result import AuditResult
    from phase_jax.audit.settings import AuditSettings
    from phase_jax.sweep import SweepResult


def audit_and_report(
    run: SweepResult,
    settings: AuditSettings,
    out: pathlib.Path,
    *,
    data_dir: str | None = None,
    use_cache: bool = True,
) -> int:
    """Audit a run, write the files and print the table and the verdict.

    Args:
      run: The run.
      settings: What is asked for.
      out: The directory, claimed.
      data_dir: Directory with prepared data, where they have moved since the run.
      use_cache: Whether compiled programs are kept for the next run.

    Returns:
      Exit status 0.

    Raises:
      InputError: The run lacks what is asked for, or its data have changed.
      InterruptedRunError: The device's memory or the disk is full.
    """
    if use_cache:
        enable_compilation_cache()
    console = open_console()
    with explain_memory("audit fewer attack strengths with --eps"):
        result = run_audit(
            run,
            settings,
            data_dir=data_dir,
            progress_fn=lambda text: print_paragraph(console, text),
        )
    write_audit(result, out)
    print_summary(console, result)
    print_paragraph(console, f"{result.seconds:.0f} s; results in {out}")
    return 0


def print_summary(console: Console, result: AuditResult) -> None:
    """Print what the attacks add to the losses, and the verdict."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("ε", "train loss", "worst", "rise", "test loss", "worst", "rise",
                 "test acc.", "worst"):  # fmt: skip
        table.add_column(name, justify="right")
    for row in list_rises(result):
        cells = [format_epsilon(row["epsilon"])]
        for split in ("train", "test"):
            cells += [f"{row[f'{split}_loss']:.4f}", f"{row[f'{split}_worst']:.4f}"]
            cells.append(f"{row[f'{split}_rise']:.2g} ± {row[f'{split}_rise_error']:.1g}")
        cells += [f"{row['test_accuracy']:.1%}", f"{row['test_accuracy_worst']:.1%}"]
        table.add_row(*cells)
    console.print(table, highlight=False)
    print_paragraph(
        console,
        "means over seeds, on the images attacked; the run's own attack, then the largest loss of "
        f"each image over all attacks ({'; '.join(result.attacks)}); ± standard error over "
        "images",
    )
    outside = is_outside(result.epsilon_star_audited, result.epsilon_star)
    style = "bold yellow" if outside else "bold"
    print_paragraph(console, describe_verdict(result) + ".", style)
