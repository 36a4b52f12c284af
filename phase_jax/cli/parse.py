"""From arguments to a dataclass: flags and help from its fields, every refusal in one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
from typing import TYPE_CHECKING, Annotated, Any

from phase_jax.config import SweepConfig
from phase_jax.grid import AUTO, AUTO_GRID, parse_grid, parse_number
from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable


def parse_arguments(
    command: type,
    arguments: list[str],
    default: Any,
    usage: str,
    description: str,
    *,
    fixed: tuple[str, ...] = (),
) -> Any:
    """Parse arguments into a dataclass; a refusal becomes one line.

    Args:
      command: The dataclass; its fields are declared with `phase_jax.config.option`.
      arguments: What the user wrote, without the command's name.
      default: Values of what the user did not write.
      usage: The command as it is called, for the help.
      description: First lines of the help.
      fixed: Fields that have no flag here, such as `AttackConfig.name`.

    Returns:
      An instance of `command`.

    Raises:
      InputError: The arguments do not fit.
      SystemExit: The user asked for help, which has been printed.
    """
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
                registry=_build_registry(fixed),
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as leave:
        if not leave.code:
            raise
        raise InputError(_condense(refusal.getvalue())) from None


def _build_registry(fixed: tuple[str, ...]) -> Any:
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
                    type=_annotate(field, info.type, fixed),
                    default=getattr(default, field.name),
                    helptext=field.metadata.get("help"),
                )
                for field in dataclasses.fields(info.type)
            ),
        )

    return registry


def _annotate(field: dataclasses.Field, owner: type, fixed: tuple[str, ...]) -> Any:
    """Give a field's type its flag and, for attack strengths, its own reader."""
    import typing

    import tyro

    hint = typing.get_type_hints(owner)[field.name]
    if f"{owner.__name__}.{field.name}" in fixed:
        return Annotated[hint, tyro.conf.Fixed, tyro.conf.SuppressFixed]
    grid, number = (parse_grid, _format_grid), (parse_number, repr)
    readers = {
        "epsilon_grid": (_parse_grid_or_auto, _format_grid) if owner is SweepConfig else grid,
        "target_epsilon": number,
        "from_epsilon": number,
        "to_epsilons": grid,
        "audited_epsilons": grid,
    }
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
    return ",".join(map(repr, values)) if values else AUTO


def _parse_grid_or_auto(text: str, field: str) -> tuple[float, ...]:
    return AUTO_GRID if text.strip() == AUTO else parse_grid(text, field)


def _condense(text: str) -> str:
    """Turn the parser's boxed message into one line: flag, value, what is allowed."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = join_lines(re.sub(r"[│╭╮╰╯─]|-{3,}|^[|+]|[|+]$", " ", text, flags=re.MULTILINE))
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
        (r"no type matching \{None\}\|INT .* from \[(.*?)\]", "a whole number"),
        (r"could not convert string to float: (.*)", "a number"),
        (r"Could not find valid parse for arguments: \[(.*)\]", "see --help"),
    ):
        if found := re.match(pattern, reason):
            return f"{flag}: {found[1]} is not allowed; allowed: {allowed}"
    return f"{flag}: {reason}"


def join_lines(text: str) -> str:
    """Put a text on one line."""
    return " ".join(text.split())
