"""What each optimizer does on a bowl, on a curve with two minima and on a saddle: a picture.

A model with one or two parameters is a point, and a gradient that is written by hand moves it: ``trainer.update()`` is
the optimizer alone. Needs matplotlib; writes optimizers.png, or the file that it is given.
"""

import sys

import numpy as np

import fastbp

# By name, with a learning rate and the colour of Okabe and Ito's palette
OPTIMIZERS = {
    "sgd": (fastbp.SGD(0.1), "#000000"),
    "momentum": (fastbp.SGD(0.02, momentum=0.9), "#0072B2"),
    "nesterov": (fastbp.SGD(0.02, momentum=0.9, nesterov=True), "#56B4E9"),
    "adagrad": (fastbp.Adagrad(0.5), "#CC79A7"),
    "rmsprop": (fastbp.RMSprop(0.05, alpha=0.9), "#E69F00"),
    "adam": (fastbp.Adam(0.1), "#D55E00"),
    "nadam": (fastbp.NAdam(0.1), "#009E73"),
    "lion": (fastbp.Lion(0.03), "#999999"),
}


def bowl(w):
    """Ten times as steep across as along: w1**2 / 2 + 10 w2**2 / 2."""
    return (w[0] ** 2 + 10 * w[1] ** 2) / 2, np.array([w[0], 10 * w[1]])


def two_minima(w):
    """A curve with a shallow minimum on the way to a deep one: w**4 / 4 - w**2 + 0.3 w."""
    return w[0] ** 4 / 4 - w[0] ** 2 + 0.3 * w[0], w**3 - 2 * w + 0.3


def saddle(w):
    """Flat in the middle, up along w1 and down along w2: w1**2 / 2 - w2**2 / 2 + w2**4 / 8."""
    return w[0] ** 2 / 2 - w[1] ** 2 / 2 + w[1] ** 4 / 8, np.array([w[0], w[1] ** 3 / 2 - w[1]])


# Each with where it begins, and how many steps are drawn
SURFACES = {bowl: ([-4.0, 1.5], 60), two_minima: ([2.4], 80), saddle: ([-2.0, 0.01], 60)}


def path(surface, start, optimizer, steps):
    """Return where an optimizer goes, (steps + 1, parameters)."""
    model = fastbp.mlp([1, len(start)], bias=False, dtype="float64", rng=0)
    trainer = fastbp.Trainer(model, "mse", optimizer)
    w, gradient = model.parameters()["0.weight"][:, 0], model.gradients()["0.weight"][:, 0]
    w[:] = start
    places = [w.copy()]
    for _ in range(steps):
        gradient[:] = surface(w)[1]
        trainer.update()
        places.append(w.copy())
    return np.array(places)


def paths():
    """Return every optimizer's path on every surface, by the names of both."""
    return {
        surface.__name__: {name: path(surface, start, kind, steps) for name, (kind, _) in OPTIMIZERS.items()}
        for surface, (start, steps) in SURFACES.items()
    }


def draw_map(axes, surface, found):
    """Draw a surface of two parameters by its contours, and the paths on it."""
    w1, w2 = np.meshgrid(np.linspace(-4.5, 2.5, 200), np.linspace(-2.6, 2.6, 200))
    value = surface(np.array([w1, w2]))[0]
    low, high = value.min(), np.percentile(value, 90)
    levels = low + (high - low) * np.linspace(0, 1, 14) ** 2
    axes.contour(w1, w2, value, levels, colors="#cccccc", linewidths=0.8, zorder=0)
    for name, places in found.items():
        axes.plot(*places.T, ".-", markersize=3, linewidth=1.2, color=OPTIMIZERS[name][1], label=name)
    axes.set(xlabel="w1", ylabel="w2", xlim=(-4.5, 2.5), ylim=(-2.6, 2.6))


def draw_curve(axes, surface, found):
    """Draw a curve, and below it for each optimizer where it is after each step, and where it ends."""
    w = np.linspace(-2.2, 2.5, 300)
    axes.plot(w, surface(w[None])[0], color="#cccccc")
    for row, (name, places) in enumerate(found.items()):
        height = -2.2 - 0.3 * row
        axes.plot(places[:, 0], np.full(len(places), height), ".-", markersize=3, color=OPTIMIZERS[name][1])
        axes.plot(places[-1, 0], surface(places[-1])[0], "o", markersize=5, color=OPTIMIZERS[name][1])
    axes.set(xlabel="w", ylabel="loss; below it, the steps", xlim=(-2.2, 2.6))
    axes.set_yticks([-1, 0, 1, 2])


def main(file="optimizers.png"):
    """Draw the three surfaces side by side; return the paths."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = paths()
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, surface in zip(figure.subplots(1, 3), SURFACES, strict=True):
        draw = draw_map if len(SURFACES[surface][0]) == 2 else draw_curve
        draw(axes, surface, found[surface.__name__])
        axes.set_title(surface.__doc__.split(":")[0], fontsize=9)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(file, dpi=110)
    for name, on in found.items():
        ends = ", ".join(f"{kind} ({', '.join(f'{w:.2f}' for w in places[-1])})" for kind, places in on.items())
        print(f"{name} ends at {ends}")
    return found


if __name__ == "__main__":
    main(*sys.argv[1:2])
