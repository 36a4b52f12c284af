"""The command `connectivity`."""

from __future__ import annotations

import dataclasses

from phase_jax.cli.follow_up import FollowUpOptions, open_run, take_run_name
from phase_jax.cli.parse import parse_arguments
from phase_jax.cli.processes import ProcessOptions, join_processes
from phase_jax.cli.saving import build_session_options, check_saving
from phase_jax.connectivity.settings import FILES, ConnectivitySettings, validate_settings

DESCRIPTION = """\
Connect networks of a finished sweep by curves of low loss (section 5.2, Figure 4): how high is the
barrier between the clean network and those trained at each attack strength?

RUN is the directory that a sweep wrote. Curves start at networks trained with --from-eps and end at
those trained with --to-eps; their middle is trained, their ends stay:
  python -m phase_jax.connectivity runs/mnist --from-eps 0 --to-eps 0,8/255 --out runs/connected
"""


@dataclasses.dataclass(frozen=True)
class ConnectivityCommand:
    """A study of connectivity and how to run it."""

    run: FollowUpOptions = dataclasses.field(
        default_factory=FollowUpOptions, metadata={"help": "Where results go"}
    )
    settings: ConnectivitySettings = dataclasses.field(
        default_factory=ConnectivitySettings, metadata={"help": "What is connected"}
    )
    processes: ProcessOptions = dataclasses.field(
        default_factory=ProcessOptions, metadata={"help": "Several processes as one run"}
    )


def run_connectivity_command(arguments: list[str]) -> int:
    """Parse, read the run, claim the directory, then connect."""
    name = take_run_name(arguments)
    usage = "phase-jax connectivity RUN"
    command = parse_arguments(
        ConnectivityCommand, arguments, ConnectivityCommand(), usage, DESCRIPTION
    )
    settings, options = validate_settings(command.settings), command.run
    claim = check_saving(options)
    join_processes(command.processes)
    with open_run(name, "connectivity", options.out, claim, FILES, command.processes) as (
        run,
        out,
    ):
        from phase_jax.connectivity.session import connect_and_report

        return connect_and_report(
            run,
            settings,
            out,
            build_session_options(options),
            data_dir=options.data_dir,
        )
