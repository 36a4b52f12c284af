"""The command line: `phase-jax COMMAND` and the doors `python -m phase_jax.COMMAND`.

Only light modules are imported here: help and refusals never wait for JAX. Flags come from the
configuration tree; a configuration file supplies other defaults. Whatever is wrong with the input
ends in one line on standard error and exit status 2.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import phase_jax
from phase_jax.config import SweepConfig, option, validate_config
from phase_jax.grid import parse_grid, parse_number
from phase_jax.types import InputError, InterruptedRunError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXIT_BAD_INPUT = 2
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130

COMMANDS = {
    "sweep": "train a network at many attack strengths and solve for epsilon*",
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

SWEEP_DESCRIPTION = """\
Train one network at many attack strengths and seeds, side by side, and solve for epsilon*: the
largest attack strength whose adversarial train loss stays below the clean model's clean test loss.

Every epsilon is a radius in pixel space [0, 1]; numbers may be fractions such as 8/255. A Python
file that defines `config = SweepConfig(...)` may come first and supplies the defaults below:
  python -m phase_jax.sweep configs/mnist.py --eps-grid 0:0.2:9 --seeds 3 --out runs/mnist
"""

DATA_DESCRIPTION = """\
Prepare a data set as a TFDS directory: `python -m phase_jax.data prepare NAME --source DIR`.
"""


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Where a run writes, and how it runs on this machine; not part of the result."""

    out: str | None = option(None, "directory for the results; by default runs/DATASET-MODEL-TIME")
    overwrite: bool = option(False, "replace a run that --out already holds")
    compilation_cache: bool = option(
        True, "keep compiled programs in the user's cache directory", flag="compilation-cache"
    )


@dataclasses.dataclass(frozen=True)
class SweepCommand:
    """A sweep and how to run it."""

    run: RunOptions = dataclasses.field(
        default_factory=RunOptions, metadata={"help": "Where results go"}
    )
    config: SweepConfig = dataclasses.field(
        default_factory=SweepConfig, metadata={"help": "What is swept"}
    )


@dataclasses.dataclass(frozen=True)
class PrepareCommand:
    """What to prepare, from where, to where."""

    source: str | None = option(None, "directory with the original files (no network needed)")
    data_dir: str | None = option(
        None, "TFDS directory; by default $TFDS_DATA_DIR or ~/tensorflow_datasets", flag="data-dir"
    )


def main_and_exit(command: str | None = None) -> None:
    """Run the command line of this process and exit with its status."""
    arguments = sys.argv[1:]
    sys.exit(main([command, *arguments] if command else arguments))


def main(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
      arguments: Command-line arguments, the command's name first.

    Returns:
      Exit status: 0 done, 1 could not go on (full disk, say), 2 bad input, 130 interrupted.
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
        return {"sweep": _run_sweep_command, "data": _run_data_command}[arguments[0]](arguments[1:])
    except InputError as error:
        print(f"phase-jax: {_one_line(str(error))}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except InterruptedRunError as error:
        print(f"phase-jax: {_one_line(str(error))}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("phase-jax: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except SystemExit as leave:  # argument parsing printed its help
        return int(leave.code or 0)


def _run_sweep_command(arguments: list[str]) -> int:
    """Parse, check everything that can be checked cheaply, then run."""
    default = SweepCommand()
    if arguments and not arguments[0].startswith("-"):
        default = dataclasses.replace(default, config=_load_config_file(arguments.pop(0)))
    command = _parse(
        SweepCommand, arguments, default, "phase-jax sweep [CONFIG]", SWEEP_DESCRIPTION
    )
    config = validate_config(command.config)
    from phase_jax.data import check_available

    check_available(config.data.name, config.data.data_dir)
    from phase_jax.report.directory import claim_directory

    out = claim_directory(command.run.out, config, overwrite=command.run.overwrite)
    from phase_jax.report.session import run_and_report

    try:
        return run_and_report(config, out, use_cache=command.run.compilation_cache)
    except (InputError, InterruptedRunError, KeyboardInterrupt):
        with contextlib.suppress(OSError):
            out.rmdir()  # nothing was written: leave no empty directory
        raise


def _run_data_command(arguments: list[str]) -> int:
    """Prepare a data set."""
    if not arguments or {"-h", "--help"} & {*arguments}:
        arguments = ["prepare", "NAME", "--help"]
    if arguments[0] != "prepare":
        raise InputError(f"data: {arguments[0]!r} is not known; allowed: prepare NAME")
    if len(arguments) < 2 or arguments[1].startswith("-"):
        raise InputError("data prepare: give the data set's NAME first, such as mnist")
    _, name, *rest = arguments
    usage = "phase-jax data prepare NAME"
    command = _parse(PrepareCommand, rest, PrepareCommand(), usage, DATA_DESCRIPTION)
    from phase_jax.data import prepare_dataset

    prepare_dataset(name, source=command.source, data_dir=command.data_dir)
    return 0


def _load_config_file(path: str) -> SweepConfig:
    """Run a configuration file and take its `config`; such a file is code, not data."""
    import runpy

    try:
        namespace = runpy.run_path(path)
    except FileNotFoundError:
        raise InputError(
            f"CONFIG: {path!r} does not exist; give a Python file, or a flag"
        ) from None
    except OSError as error:
        raise InputError(f"CONFIG: {path!r} cannot be read: {error.strerror}") from None
    except (Exception, SystemExit) as error:
        raise InputError(
            f"CONFIG: {path!r} failed to run: {type(error).__name__}: {error}"
        ) from None
    config = namespace.get("config")
    if not isinstance(config, SweepConfig):
        raise InputError(f"CONFIG: {path!r} does not define config = SweepConfig(...)")
    return config


def _parse(command: type, arguments: list[str], default: Any, usage: str, description: str) -> Any:
    """Parse arguments into a dataclass; a refusal becomes one line."""
    import tyro

    refusal = io.StringIO()
    try:
        with contextlib.redirect_stderr(refusal):
            target: Any = Annotated[command, tyro.conf.arg(name="")]  # pyright: ignore
            return tyro.cli(
                target,
                args=arguments,
                default=default,
                prog=usage,
                description=description,
                registry=_build_registry(),
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as leave:
        if not leave.code:
            raise
        raise InputError(_condense(refusal.getvalue())) from None


def _build_registry() -> Any:
    """Teach the parser our configuration tree: flags and help from metadata, grids, fractions."""
    import tyro

    registry = tyro.constructors.ConstructorRegistry()

    @registry.struct_rule
    def configuration_rule(info: tyro.constructors.StructTypeInfo) -> Any:
        if not (
            dataclasses.is_dataclass(info.type) and info.type.__module__.startswith("phase_jax")
        ):
            return None
        default = info.default if isinstance(info.default, info.type) else info.type()
        return tyro.constructors.StructConstructorSpec(
            instantiate=info.type,
            fields=tuple(
                tyro.constructors.StructFieldSpec(
                    name=field.name,
                    type=_annotate(field, info.type),
                    default=getattr(default, field.name),
                    helptext=field.metadata.get("help"),
                )
                for field in dataclasses.fields(info.type)
            ),
        )

    return registry


def _annotate(field: dataclasses.Field, owner: type) -> Any:
    """Give a field's type its flag and, for attack strengths, its own reader."""
    import typing

    import tyro

    hint = typing.get_type_hints(owner)[field.name]
    readers = {"epsilon_grid": (parse_grid, _format_grid), "target_epsilon": (parse_number, repr)}
    if field.name in readers:
        read, show = readers[field.name]
        hint = Annotated[hint, _text_spec(read, show, f"--{field.metadata['flag']}")]
    return Annotated[hint, tyro.conf.arg(name=field.metadata.get("flag") or field.name)]


def _text_spec(read: Callable[[str, str], Any], show: Callable[[Any], str], flag: str) -> Any:
    """Describe a value given as one word of text."""
    import tyro

    def from_text(words: list[str]) -> Any:
        return None if words[0] == "None" else read(words[0], flag)

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="GRID" if read is parse_grid else "EPSILON",
        instance_from_str=from_text,
        is_instance=lambda value: value is None or isinstance(value, (tuple, float, int)),
        str_from_instance=lambda value: ["None" if value is None else show(value)],
    )


def _format_grid(values: tuple[float, ...]) -> str:
    return ",".join(map(repr, values))


def _condense(text: str) -> str:
    """Turn the parser's boxed message into one line: flag, value, what is allowed."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = _one_line(re.sub(r"[│╭╮╰╯─]", " ", text))
    text = re.sub(r"(Argument helptext:|For full helptext,).*", "", text).strip()
    if unknown := re.match(r"Unrecognized options Unrecognized options: ([^,\s]+)", text):
        close = re.search(r"Perhaps you meant: (--[\w-]+)", text)
        hint = f"did you mean {close[1]}?" if close else "see --help"
        return f"{unknown[1]} is not a known option; {hint}"
    if bad := re.match(r"Value error Error parsing (--[\w-]+): (.*)", text):
        return _explain_value(bad[1], bad[2])
    return re.sub(r"^Missing argument ", "", text)


def _explain_value(flag: str, reason: str) -> str:
    """Say what a flag allows instead of what Python complained about."""
    if reason.startswith(flag):
        return reason
    for pattern, allowed in (
        (r"invalid literal for int\(\) with base 10: (.*)", "a whole number"),
        (r"could not convert string to float: (.*)", "a number"),
        (r"Could not find valid parse for arguments: \[(.*)\]", "see --help"),
    ):
        if found := re.match(pattern, reason):
            return f"{flag}: {found[1]} is not allowed; allowed: {allowed}"
    return f"{flag}: {reason}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
