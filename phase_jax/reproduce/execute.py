"""Run a setting, and what follows from it, in the directory that is its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phase_jax.connectivity.settings import FILES as CONNECTIVITY_FILES
from phase_jax.connectivity.settings import ConnectivitySettings
from phase_jax.report.directory import Claim, claim_directory
from phase_jax.reproduce.catalogue import load_fine_tuning
from phase_jax.reproduce.recipes import scale_grid
from phase_jax.reproduce.registry import CONNECTED, ITEMS, Stage, split_run
from phase_jax.reproduce.runs import has_run, name_directory

if TYPE_CHECKING:
    from phase_jax.config import SweepConfig
    from phase_jax.reproduce.session import Request

QUICK_POINTS, QUICK_GRID = 13, 7
"""Points on a curve, and on a side of the plane, of the quick variant."""


def run_setting(setting: str, config: SweepConfig, request: Request) -> None:
    """Run the sweep of a setting, or go on with it."""
    from phase_jax.report.session import SessionOptions, run_and_report

    path = name_directory(request.out, setting, quick=request.quick)
    with claim_directory(path, config, Claim.RESUME) as out:
        run_and_report(config, out, SessionOptions(use_cache=request.use_cache))


def run_fine_tuning(name: str, config: SweepConfig, request: Request) -> None:
    """Fine-tune the clean model of a setting: its sweep's where that is there."""
    from phase_jax.finetune.session import run_and_report_fine_tuning
    from phase_jax.finetune.write import FILES
    from phase_jax.report.read import load_run
    from phase_jax.report.session import SessionOptions

    setting, clean = split_run(name)[0], None
    if has_run(request.out, setting, quick=request.quick):
        source = name_directory(request.out, setting, quick=request.quick)
        clean = load_run(source, field="--out")
    path = name_directory(request.out, name, quick=request.quick)
    tuning = load_fine_tuning(setting, quick=request.quick)
    with claim_directory(path, config, Claim.RESUME, files=FILES, is_extendable=False) as out:
        run_and_report_fine_tuning(
            config,
            tuning,
            clean,
            None if clean is None else setting,
            out,
            SessionOptions(use_cache=request.use_cache),
        )


def run_connection(name: str, config: SweepConfig, request: Request) -> None:
    """Connect the networks of a setting's sweep, which has run."""
    from phase_jax.connectivity.session import connect_and_report
    from phase_jax.report.read import load_run
    from phase_jax.report.session import SessionOptions

    source = name_directory(request.out, split_run(name)[0], quick=request.quick)
    settings = ConnectivitySettings(to_epsilons=scale_grid(*ITEMS[CONNECTED].epsilons_255))
    if request.quick:
        settings = ConnectivitySettings(
            to_epsilons=settings.to_epsilons, num_points=QUICK_POINTS, grid_size=QUICK_GRID
        )
    path = name_directory(request.out, name, quick=request.quick)
    with claim_directory(
        path, config, Claim.RESUME, files=CONNECTIVITY_FILES, is_extendable=False
    ) as out:
        connect_and_report(
            load_run(source, field="--out"),
            settings,
            out,
            SessionOptions(use_cache=request.use_cache),
            data_dir=request.data_dir,
        )


RUN_FNS = {
    Stage.SWEEP: run_setting,
    Stage.FINE_TUNING: run_fine_tuning,
    Stage.CONNECTION: run_connection,
}
"""What runs a stage of a setting: `run(name, config, request)`."""


def run_study(study: str, request: Request) -> None:
    """Run a study of the linear model."""
    from phase_jax.simulate.directory import StudySettings, claim_study_directory
    from phase_jax.simulate.session import run_study

    settings = StudySettings(study, full=not request.quick)
    path = name_directory(request.out, study, quick=request.quick)
    with claim_study_directory(path, settings) as out:
        run_study(settings, out, use_cache=request.use_cache)
