"""The roofline of a run as a picture; needs matplotlib (extra ``plot``)."""

import io
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from fastbp.bench.measure import OWN, Outcome
from fastbp.bench.report import limits
from fastbp.bench.workers import LIBRARIES

# Okabe and Ito's palette, and a shape of its own for each: told apart by every kind of colour vision, and in grey.
STYLES = {
    "fastbp": ("#0072B2", "o"),
    "torch": ("#D55E00", "s"),
    "torch_compile": ("#E69F00", "D"),
    "jax": ("#009E73", "^"),
    "sklearn": ("#CC79A7", "v"),
    "numpy": ("#222222", "P"),
}
GREY = "#666666"
GAP = 1.12


def roofline(outcomes: Sequence[Outcome]) -> bytes:
    """Draw the GFLOP/s of every case and library over the case's arithmetic intensity; return a PNG file.

    The intensity is the floating-point operations of a case (`Case.work`) for each byte that has to be moved once at
    least (`Case.bytes`: parameters, optimizer state, batch and result). The roofs are the copy bandwidth times the
    intensity, and the FMA peak, for one thread and for all, the best over the cases. Work that stays in the caches may
    stand above the slope. Exponentials are not counted; cross-entropy is four operations an element by convention.
    Cases of nearly the same intensity are drawn beside each other.

    Raises
    ------
    ImportError
        If matplotlib is not installed; it says how to get it.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'fastbp[plot]'") from error

    figure = Figure(figsize=(12.5, 7.2), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    ax = figure.add_axes((0.065, 0.09, 0.62, 0.81))
    figure.text(0.065, 0.94, "GFLOP/s of every case, and the machine's limits", fontsize=15, fontweight="bold")
    shown = [outcome for outcome in outcomes if outcome.times]
    intensities = _apart([outcome.case.work / outcome.case.bytes for outcome in shown])
    low, high = min(intensities, default=1) / 2, max(intensities, default=1) * 2
    _roofs(ax, outcomes, low, high)
    _points(ax, shown, intensities)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(low, high)
    ax.set_xlabel("FLOP for each byte that has to be moved once (parameters, state, batch, result)", fontsize=11)
    ax.set_ylabel("GFLOP/s", fontsize=11)
    ax.grid(color="#e4e4e4", lw=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.legend(loc="lower right", frameon=False, fontsize=10)
    lines = [f"{i:2d}  {outcome.case.label.replace('_', '-')}" for i, outcome in enumerate(shown, 1)]
    figure.text(0.71, 0.9, "\n".join(lines), fontsize=9, va="top", linespacing=1.6)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _apart(intensities: Sequence[float]) -> list[float]:
    """Move equal ones apart, by some per cent, to the right."""
    moved = list(intensities)
    order = sorted(range(len(moved)), key=moved.__getitem__)
    for before, i in pairwise(order):
        moved[i] = max(moved[i], moved[before] * GAP)
    return moved


def _roofs(ax: Any, outcomes: Sequence[Outcome], low: float, high: float) -> None:
    rates = limits(outcomes, max)
    for threads in sorted({n for _, n in rates}):
        peak, bandwidth = rates["fma", threads] / 1e9, rates["copy", threads] / 1e9
        ridge = peak / bandwidth
        text = f"{threads} thread{'s' if threads > 1 else ''}: {peak:.0f} GFLOP/s, {bandwidth:.0f} GB/s"
        ax.plot([low, ridge, high], [low * bandwidth, peak, peak], color=GREY, lw=1.5, ls="-" if threads > 1 else "--",
                label=text, zorder=1)  # fmt: skip


def _points(ax: Any, outcomes: Sequence[Outcome], intensities: Sequence[float]) -> None:
    for library, (colour, marker) in STYLES.items():
        rates = [
            outcome.case.work / best.median / 1e9 if (best := outcome.best(library)) else math.nan
            for outcome in outcomes
        ]
        if all(map(math.isnan, rates)):
            continue
        own = library == OWN
        ax.plot(intensities, rates, marker, color=colour, ms=8 if own else 6.5, mec="white", mew=0.5,
                label=LIBRARIES[library][0], zorder=4 if own else 3)  # fmt: skip
    for i, (outcome, intensity) in enumerate(zip(outcomes, intensities, strict=True), 1):
        rates = [outcome.case.work / time.median / 1e9 for name in STYLES if (time := outcome.best(name))]
        ax.plot([intensity] * 2, [min(rates), max(rates)], color="#bbbbbb", lw=1, zorder=2)
        ax.annotate(str(i), (intensity, max(rates)), (0, 6), textcoords="offset points", ha="center", fontsize=9,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.7}, zorder=5)  # fmt: skip
