"""What a table would become, in words: before anything is trained."""

from collections.abc import Sequence
from typing import NamedTuple

from fastbp.data.columns.roles import FEATURES, MOST_ONE_HOT, Role
from fastbp.data.columns.target import Target


class Line(NamedTuple):
    """What is said of a column: its name, what it becomes, how many rows have no value, and why."""

    column: str
    becomes: str
    missing: int
    why: str


def described(roles: Sequence[Role], target: Target | None = None) -> list[Line]:
    """Say of each column what it becomes, and why."""
    lines = []
    for role in roles:
        if role.kind == "target" and target is not None:
            lines.append(Line(role.column, f"target, {target.task}", target.missing, target.why))
        else:
            lines.append(Line(role.column, _becomes(role), role.missing, role.why))
    return lines


def described_target(target: Target, rows: int) -> str:
    """Say in a sentence what is predicted: ``"sex: 2 classes (text); 20 of 60 rows without one are left out"``."""
    names = ", ".join(target.columns)
    what = f"{len(target.classes)} classes" if target.classes else "a quantity"
    if len(target.columns) > 1:
        what = f"{len(target.columns)} quantities"
    missing = f"; {target.missing} of {rows} rows without one are left out" if target.missing else ""
    return f"{names}: {what} ({target.why}){missing}"


def left_out(roles: Sequence[Role]) -> list[str]:
    """Name the columns that are left out, each with its reason."""
    return [f"{role.column}: {role.why}" for role in roles if role.kind == "left out"]


def _becomes(role: Role) -> str:
    if role.kind not in FEATURES:
        return role.kind
    places = role.values + (role.missing > 0)
    if role.kind in ("boolean", "category"):
        if role.values > MOST_ONE_HOT:
            return f"{role.kind}, an embedding of {role.values}"
        return f"{role.kind}, -1 or 1" if places == 2 else f"{role.kind}, {places} columns of 0 and 1"
    return role.kind + ", and is it missing" * (role.missing > 0)
