"""The command line: `phase-jax COMMAND` and the doors `python -m phase_jax.COMMAND`.

Only light modules are imported here: help and refusals never wait for JAX. Flags come from the
configuration tree; a configuration file supplies other defaults. Whatever is wrong with the input
ends in one line on standard error and exit status 2.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import phase_jax
from phase_jax.cli.audit import run_audit_command
from phase_jax.cli.connectivity import run_connectivity_command
from phase_jax.cli.data import run_data_command
from phase_jax.cli.finetune import run_fine_tuning_command
from phase_jax.cli.processes import leave_after_crash, report_failure
from phase_jax.cli.report import run_report_command
from phase_jax.cli.reproduce import run_reproduce_command
from phase_jax.cli.simulate import run_simulate_command
from phase_jax.cli.sweep import run_sweep_command
from phase_jax.interruption import StopSignals, Terminated
from phase_jax.types import InputError, InterruptedRunError, StoppedRunError

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_BAD_INPUT = 2
EXIT_FAILED = 1
EXIT_SIGNAL = 128  # and the signal's number: 130 for SIGINT, 143 for SIGTERM

COMMANDS = {
    "sweep": "train a network at many attack strengths and solve for epsilon*",
    "finetune": "estimate epsilon* by fine-tuning a clean model and extrapolating",
    "audit": "attack the networks of a sweep harder than it did (`audit RUN`)",
    "connectivity": "connect networks of a sweep by curves of low loss (`connectivity RUN`)",
    "simulate": "run a study of the linear model (`simulate STUDY`; `simulate --list`)",
    "report": "show a run on a page, or several beside each other (`report RUN [RUN ...]`)",
    "reproduce": "reproduce a table or figure of the paper (`reproduce list`)",
    "data": "prepare data sets (`data prepare NAME --source DIR`)",
}

OVERVIEW = """\
usage: phase-jax [-h] [--version] COMMAND ...

Find epsilon*, the attack strength at which adversarial training stops behaving like clean
training.

commands:
{commands}

`phase-jax COMMAND --help` describes a command; `python -m phase_jax.COMMAND` is the same command.
"""


def main_and_exit(command: str | None = None) -> None:
    """Run the command line of this process and exit with its status."""
    arguments = sys.argv[1:]
    try:
        with StopSignals(raise_at_once=True):
            status = main([command, *arguments] if command else arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output, `head` say, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = EXIT_FAILED
    except Exception as error:
        status = leave_after_crash(error)
    sys.exit(status)


def main(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
      arguments: Command-line arguments, the command's name first.

    Returns:
      Exit status: 0 done, 1 could not go on (full disk, say), 2 bad input, 130 stopped by
      SIGINT, 143 by SIGTERM.
    """
    arguments = list(arguments)
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            width = max(map(len, COMMANDS))
            lines = (f"  {name:{width}}  {text}" for name, text in COMMANDS.items())
            print(OVERVIEW.format(commands="\n".join(lines)), end="")
            return 0
        if arguments[0] == "--version":
            print(f"phase-jax {phase_jax.__version__}")
            return 0
        if arguments[0] not in COMMANDS:
            raise InputError(
                f"command: {arguments[0]!r} is not known; allowed: {', '.join(COMMANDS)}"
            )
        run_fns = {
            "sweep": run_sweep_command,
            "finetune": run_fine_tuning_command,
            "audit": run_audit_command,
            "connectivity": run_connectivity_command,
            "simulate": run_simulate_command,
            "report": run_report_command,
            "reproduce": run_reproduce_command,
            "data": run_data_command,
        }
        return run_fns[arguments[0]](arguments[1:])
    except InputError as error:
        return report_failure(error, str(error), EXIT_BAD_INPUT)
    except StoppedRunError as error:
        return report_failure(error, str(error), EXIT_SIGNAL + error.signal_number)
    except InterruptedRunError as error:
        return report_failure(error, str(error), EXIT_FAILED)
    except KeyboardInterrupt as error:
        number = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
        return report_failure(error, "interrupted", EXIT_SIGNAL + number)
    except SystemExit as leave:  # argument parsing printed its help
        return int(leave.code or 0)
