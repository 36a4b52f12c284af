"""Results in the forms of other libraries: data frames of pandas, arrays as xarray reads them.

Neither library is needed to import this module, and xarray is not needed at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd


def build_dataframe(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Build a data frame of rows; what a row lacks is missing there.

    Args:
      rows: Column name -> value.

    Returns:
      The frame, columns in the order of their first appearance.

    Raises:
      InputError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise InputError(
            "to_dataframe: pandas is not installed; allowed: after pip install 'phase-jax[pandas]'"
        ) from None
    return pd.DataFrame(list(rows))


def choose_rows(table: str, tables: Mapping[str, Callable[[], list]]) -> list[dict[str, Any]]:
    """Make the rows of one of several tables.

    Args:
      table: Its name.
      tables: Name -> function that lists its rows.

    Returns:
      The rows.

    Raises:
      InputError: There is no such table.
    """
    if table not in tables:
        raise InputError(f"table: {table!r} is not known; allowed: {', '.join(tables)}")
    return tables[table]()


def describe_arrays(
    coords: Mapping[str, Any],
    variables: Mapping[str, tuple[tuple[str, ...], Any]],
    attrs: Mapping[str, Any],
) -> dict[str, Any]:
    """Describe arrays with named axes as a plain dict, the form of `xarray.Dataset.from_dict`.

    Args:
      coords: Axis -> its values.
      variables: Name -> the names of its axes, and an array of that many.
      attrs: What belongs to all of them.

    Returns:
      `dims` (axis -> length), `coords`, `data_vars` and `attrs`; data are NumPy arrays.
    """
    dims = {name: len(values) for name, values in coords.items()}
    for axes, array in variables.values():
        dims |= dict(zip(axes, np.shape(array), strict=True))
    return {
        "dims": dims,
        "coords": {
            name: {"dims": (name,), "data": np.asarray(values), "attrs": {}}
            for name, values in coords.items()
        },
        "data_vars": {
            name: {"dims": axes, "data": np.asarray(array), "attrs": {}}
            for name, (axes, array) in variables.items()
        },
        "attrs": dict(attrs),
    }
