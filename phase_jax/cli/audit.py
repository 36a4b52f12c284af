"""The command `audit`."""

from __future__ import annotations

import dataclasses

from phase_jax.audit.settings import FILES, AuditSettings, validate_settings
from phase_jax.cli.follow_up import OutputOptions, open_run, take_run_name
from phase_jax.cli.parse import parse_arguments
from phase_jax.report.directory import Claim

DESCRIPTION = """\
Is the attack strong enough that a finished sweep was evaluated with? Attack its networks again,
with PGD of 50 steps and 5 restarts at three step lengths, and say how far losses and epsilon* move.

RUN is the directory that a sweep wrote:
  python -m phase_jax.audit runs/mnist --eps 8/255,0.1 --out runs/audited
"""


@dataclasses.dataclass(frozen=True)
class AuditCommand:
    """An audit and how to run it."""

    run: OutputOptions = dataclasses.field(
        default_factory=OutputOptions, metadata={"help": "Where results go"}
    )
    settings: AuditSettings = dataclasses.field(
        default_factory=AuditSettings, metadata={"help": "What is attacked, and how"}
    )


def run_audit_command(arguments: list[str]) -> int:
    """Parse, read the run, claim the directory, then attack."""
    name = take_run_name(arguments)
    usage = "phase-jax audit RUN"
    command = parse_arguments(AuditCommand, arguments, AuditCommand(), usage, DESCRIPTION)
    settings, options = validate_settings(command.settings), command.run
    claim = Claim.OVERWRITE if options.overwrite else Claim.NEW
    with open_run(name, "audit", options.out, claim, FILES) as (run, out):
        from phase_jax.audit.session import audit_and_report

        return audit_and_report(
            run,
            settings,
            out,
            data_dir=options.data_dir,
            use_cache=options.compilation_cache,
        )
