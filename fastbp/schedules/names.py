"""The table of schedules by name, for the command line and for programs that have a name alone."""

from typing import Any

from fastbp._base import check
from fastbp._base.schedule import KINDS, Schedule
from fastbp.schedules import curves, repeated, whole_runs  # noqa: F401  # KINDS has those of modules that are imported

# Those that a value alone makes, by name
CURVES = {name: found for name, found in KINDS.items() if "value" in (option.name for option in found._options())}


def named(name: str, value: float, **options: Any) -> Schedule:
    """Return the schedule of a name.

    Parameters
    ----------
    name : str
        Of any of these but `function`.
    value : float
    **options
        Its others.

    Returns
    -------
    Schedule

    Raises
    ------
    ValueError, TypeError
        If there is none of that name, or an argument does not fit.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.schedules.named("cosine", 3e-3, warmup=0.05)
    cosine(0.003, warmup=0.05)
    """
    chosen: Any = check.choice(name, CURVES, "schedules.named", "name")
    made: Schedule = chosen(value, **options)
    return made
