"""The learning curve as a picture; needs matplotlib (extra ``plot``)."""

import io
from typing import Any

import numpy as np

from fastbp.train.history import History

# Blue and vermillion of Okabe and Ito's palette: told apart by every kind of colour vision, and in grey.
COLOURS = {"train": "#0072B2", "validation": "#D55E00", "test": "#222222"}
GREY = "#666666"


def learning_curve(
    history: History, title: str, subtitle: str, test: dict[str, float], best_epoch: int | None
) -> bytes:
    """Draw loss and accuracy by epoch, and where the test ended; return a PNG file.

    Parameters
    ----------
    history : History
        At least one epoch.
    title, subtitle : str
        The result, and what was trained.
    test : dict
        Final figures on the test rows.
    best_epoch : int, optional
        The epoch whose parameters were kept, by early stopping.

    Raises
    ------
    ImportError
        If matplotlib is not installed; it says how to get it.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("learning_curve.png needs matplotlib: pip install 'fastbp[plot]'") from error

    names = [name for name in ("loss", "accuracy") if name in history]
    alone = len(names) == 1
    figure = Figure(figsize=(7.2 if alone else 11.2, 4.6), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    margins = {"left": 0.11, "right": 0.82} if alone else {"left": 0.085, "right": 0.89, "wspace": 0.52}
    figure.subplots_adjust(top=0.76, bottom=0.13, **margins)
    left = margins["left"] - (0.08 if alone else 0.055)
    figure.text(left, 0.93, title, fontsize=16, fontweight="bold", va="center", parse_math=False)
    figure.text(left, 0.86, subtitle, fontsize=10, color=GREY, va="center", parse_math=False)
    for ax, name in zip(axes, names, strict=True):
        _panel(ax, name, history, test.get(name), best_epoch)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _panel(ax: Any, name: str, history: History, test: float | None, best_epoch: int | None) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = np.arange(1, history.epochs + 1)
    ends: list[tuple[float, str, str]] = []
    for part, key in (("train", name), ("validation", f"val_{name}")):
        if key in history:
            values = np.array(history[key])
            ax.plot(epochs, values, color=COLOURS[part], lw=2, marker="o" if len(epochs) == 1 else None)
            ends.append((float(values[-1]), part, COLOURS[part]))
    if test is not None:
        ax.plot(best_epoch or epochs[-1], test, "D", color=COLOURS["test"], ms=7, zorder=3, clip_on=False)
        ends.append((test, f"test {_written(name, test)}", COLOURS["test"]))
    if best_epoch and best_epoch < history.epochs:
        ax.axvline(best_epoch, color=GREY, lw=1, ls=":")
        late, high = best_epoch > history.epochs / 2, name == "loss"  # where no curve is
        ax.annotate(
            f" epoch {best_epoch} kept ", (best_epoch, high), xycoords=("data", "axes fraction"), color=GREY,
            ha="right" if late else "left", va="top" if high else "bottom", fontsize=9,
        )  # fmt: skip
    _zoom(ax, name, history, test)
    ax.set_title(name, loc="left", fontsize=13)
    ax.set_xlabel("epoch", fontsize=11)
    ax.set_xlim(1 if len(epochs) > 1 else 0.5, max(1.5, history.epochs))
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    if name == "accuracy":
        ax.yaxis.set_major_formatter(lambda value, _: f"{round(100 * value, 6):g} %")
        ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    ax.tick_params(labelsize=10, length=0)
    ax.grid(axis="y", color="#e4e4e4", lw=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    _label(ax, ends)


def _zoom(ax: Any, name: str, history: History, test: float | None) -> None:
    """Show where the curves end; the first epochs of a long run may leave the picture."""
    curves = [np.array(history[key]) for key in (name, f"val_{name}") if key in history]
    shown = np.concatenate([curve[min(len(curve) // 20, 5) :] for curve in curves])
    shown = np.append(shown, [] if test is None else [test])
    shown = shown[np.isfinite(shown)]
    if not len(shown):
        return
    low, high = float(shown.min()), float(shown.max())
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    ax.set_ylim(low - margin, min(high + margin, 1.0 + margin / 3) if name == "accuracy" else high + margin)


def _label(ax: Any, ends: list[tuple[float, str, str]]) -> None:
    """Write each name beside the end of its curve, apart from each other by the height of a line at least."""
    low, high = ax.get_ylim()
    gap = 0.065
    places = [float(np.clip((value - low) / (high - low), 0, 1)) if np.isfinite(value) else 1.0 for value, *_ in ends]
    order = np.argsort(places, kind="stable")
    heights = np.array(places)[order]
    for _ in range(50):  # neighbours that are too near push each other apart
        push = np.maximum(0.0, gap - np.diff(heights)) / 2
        heights[:-1] -= push
        heights[1:] += push
        heights = np.clip(heights, 0.0, 1.0)
    for height, i in zip(heights, order, strict=True):
        _, text, colour = ends[i]
        ax.annotate(
            text, (1, height), (9, 0), xycoords="axes fraction", textcoords="offset points", color=colour, va="center",
            fontsize=11, fontweight="bold" if text.startswith("test") else "normal", annotation_clip=False,
        )  # fmt: skip


def _written(name: str, value: float) -> str:
    return f"{100 * value:.1f} %" if name == "accuracy" else f"{value:.3f}"
