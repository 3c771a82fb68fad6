"""Figures of results: each function draws into one matplotlib `Axes` and returns it.

Give `ax` to draw into a figure of your own; without it a new figure is made. Colours are those of
Okabe and Ito (jfly.uni-koeln.de/color), which people with colour blindness tell apart, and the
line styles differ too, so the figures survive a grey print. Needs `sptrack[plot]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

__all__ = ["learning_curves", "response_curves", "symmetric_point_trace"]

# Okabe-Ito without its yellow, which is faint on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def learning_curves(
    dataset: xarray.Dataset,
    variable: str = "test_accuracy",
    *,
    x: str = "epoch",
    hue: str | None = "algorithm",
    seed: str | None = "seed",
    ax: Axes | None = None,
) -> Axes:
    """Draw one curve for each algorithm: the mean over seeds, and a band of one standard deviation.

    A seed that is NaN anywhere on a curve is left out of that curve, and the legend says so.

    Args:
        dataset: holds `variable` with the dimension `x` and, if they occur, `hue` and `seed`.
            "units" and "long_name" among its attributes label the axes.
        variable: name of the variable to draw.
        x: dimension along the horizontal axis.
        hue: dimension that tells the curves apart, in the order of its coordinate; None or a
            dimension that does not occur: a single curve.
        seed: dimension to average over; None or one that does not occur: no band.
        ax: where to draw; None makes a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: `variable` is missing, lacks the dimension `x`, or has others besides the three.
        ImportError: matplotlib is not installed.

    Example:
        >>> from sptrack.results import to_dataset
        >>> accuracy = np.random.default_rng(0).uniform(size=(2, 3, 4))
        >>> ds = to_dataset(
        ...     {"test_accuracy": (("algorithm", "seed", "epoch"), accuracy)},
        ...     coords={"algorithm": ["sgd", "erider"], "epoch": [1, 2, 3, 4]},
        ... )
        >>> ax = spt.plot.learning_curves(ds)
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('epoch', 'test accuracy')
    """
    names, values = _by_curve(dataset, variable, x, hue, seed)
    axis = dataset[x]  # 0, 1, ... where the dimension has no coordinate
    ax = _axes(ax)
    for i, (name, runs) in enumerate(zip(names, values, strict=True)):
        whole = runs[np.isfinite(runs).all(axis=1)]
        if len(whole) < len(runs):
            name = f"{name or variable} ({len(whole)} of {len(runs)} seeds)"
        if len(whole):
            _mean_and_band(ax, axis.values, whole, i, name)
        else:  # nothing to draw, but the legend still names it
            ax.plot([], [], label=name, **_style(i))
    if axis.dtype.kind in "iu":
        ax.locator_params(axis="x", integer=True)  # no epoch 2.5
    ax.set_xlabel(_label(axis))
    ax.set_ylabel(_label(dataset[variable]))
    _finish(ax)
    return ax


def _by_curve(
    dataset: xarray.Dataset, variable: str, x: str, hue: str | None, seed: str | None
) -> tuple[list[str | None], np.ndarray]:
    """The name of each curve, and the values with the axes (curve, seed, x)."""
    if variable not in dataset:
        raise ValueError(f"no variable {variable!r}: the dataset has {[*dataset.data_vars]}")
    array = dataset[variable]
    order = [dim for dim in (hue, seed) if dim in array.dims] + [x]
    if set(order) != set(array.dims):
        raise ValueError(
            f"{variable!r} has the dimensions {array.dims}: expected {x!r} and at most {hue!r} and "
            f"{seed!r}; choose along the others first, as in dataset.isel(layer=0)"
        )
    values = np.asarray(array.transpose(*order), float)
    if seed not in array.dims:
        values = values[..., None, :]
    if hue not in array.dims:
        return [None], values[None]
    return [str(name) for name in dataset[hue].values], values


def symmetric_point_trace(
    trace: Any,
    truth: Any = None,
    *,
    pulses: Any = None,
    label: str = "estimate",
    ax: Axes | None = None,
) -> Axes:
    """Draw how the weights of a population settle at their symmetric points under zero-shifting.

    Args:
        trace: weights, shape (T, ...): T records of a population of any shape, or of one cell (T,).
        truth: the true symmetric points, a number or the shape of the population; NaN cells (no
            symmetric point) are left out. Its mean is drawn as a dashed line.
        pulses: pulses given to each cell before each record, shape (T,); default 1, ..., T.
        label: what the legend calls the trace.
        ax: where to draw, perhaps over an earlier trace; None makes a new figure.

    Returns:
        The axes, with the mean over cells and a band of one standard deviation.

    Raises:
        ValueError: `trace` is empty or has no axis, or `pulses` is not of length T.
        ImportError: matplotlib is not installed.

    Example:
        >>> trace = 0.3 * (1 - np.exp(-np.arange(50) / 10))[:, None] * np.ones(8)
        >>> ax = spt.plot.symmetric_point_trace(trace, truth=np.full(8, 0.3))
        >>> [line.get_label() for line in ax.get_lines()]
        ['estimate, mean ± std of 8 cells', 'true symmetric point']
    """
    trace = np.asarray(trace, float)
    if trace.ndim == 0 or trace.size == 0:
        raise ValueError(f"trace has shape {trace.shape}: expected (T, ...) with records along T")
    runs = trace.reshape(len(trace), -1).T
    pulses = np.arange(1, len(trace) + 1) if pulses is None else np.asarray(pulses)
    if pulses.shape != (len(trace),):
        raise ValueError(
            f"pulses has shape {pulses.shape}: expected one for each of the {len(trace)} records"
        )
    ax = _axes(ax)
    name = f"{label}, mean ± std of {len(runs)} cells" if len(runs) > 1 else label
    _mean_and_band(ax, pulses, runs, len(ax.get_lines()), name)
    if truth is not None:
        points = _finite(truth)
        name = "true symmetric point" + (", mean" if len(np.unique(points)) > 1 else "")
        mean = points.mean() if len(points) else np.nan
        ax.axhline(mean, color="black", linestyle="--", linewidth=1.2, label=name)
    ax.set_xlabel("pulses per cell")
    ax.set_ylabel("weight")
    _finish(ax)
    return ax


def response_curves(
    w: Any, q_up: Any, q_down: Any, symmetric_point: Any = None, *, ax: Axes | None = None
) -> Axes:
    """Draw the mean steps of up and down pulses against the weight they start from.

    Args:
        w: weights, shape (N,).
        q_up: mean step of an up pulse in units of dw_min, shape (N,) or (N, cells).
        q_down: the same of a down pulse, as a positive number.
        symmetric_point: where the two are equal, a number or shape (cells,); not drawn where it
            is None or NaN.
        ax: where to draw; None makes a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: the shapes do not fit together.
        ImportError: matplotlib is not installed.

    Example:
        >>> w = np.linspace(-1, 1, 5)
        >>> ax = spt.plot.response_curves(w, 1 - w, 1 + w, symmetric_point=0.0)
        >>> [line.get_label() for line in ax.get_lines()]
        ['up pulse', 'down pulse', 'symmetric point']
    """
    w, up, down = (np.asarray(a, float) for a in (w, q_up, q_down))
    if w.ndim != 1 or up.shape != down.shape or up.ndim not in (1, 2) or up.shape[0] != len(w):
        raise ValueError(
            f"w, q_up, q_down have the shapes {w.shape}, {up.shape}, {down.shape}: "
            f"expected (N,) and twice (N,) or (N, cells)"
        )
    ax = _axes(ax)
    up, down = up.reshape(len(w), -1), down.reshape(len(w), -1)
    many = up.shape[1] > 1
    look: dict[str, Any] = {"alpha": 0.5, "linewidth": 1.0} if many else {}
    for i, (steps, name) in enumerate(((up, "up pulse"), (down, "down pulse"))):
        lines = ax.plot(w, steps, **(_style(i) | look))
        lines[0].set_label(name)
    if symmetric_point is not None:
        for i, point in enumerate(_finite(symmetric_point)):
            name = None if i else "symmetric point"
            ax.axvline(point, color="black", linestyle=":", label=name, **look)
    ax.set_xlabel("weight")
    ax.set_ylabel("mean step per pulse (dw_min)")
    _finish(ax)
    return ax


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'sptrack[plot]'") from error
    return plt.subplots(figsize=(6.0, 4.0), layout="constrained")[1]


def _style(index: int) -> dict[str, Any]:
    """Colour and line style number `index`; 7 and 5 have no common factor, so 35 differ."""
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "linestyle": _LINES[index % len(_LINES)],
        "linewidth": 1.8,
    }


def _mean_and_band(ax: Axes, x: np.ndarray, runs: np.ndarray, index: int, name: str | None) -> None:
    """The mean over the rows of `runs` as a line and one standard deviation around it."""
    style = _style(index)
    mean = runs.mean(axis=0)
    ax.plot(x, mean, label=name, **style)
    if len(runs) > 1:
        std = runs.std(axis=0, ddof=1)
        ax.fill_between(x, mean - std, mean + std, color=style["color"], alpha=0.18, linewidth=0)


def _finite(values: Any) -> np.ndarray:
    values = np.ravel(np.asarray(values, float))
    return values[np.isfinite(values)]


def _label(array: xarray.DataArray) -> str:
    """Name and units, as in "time (s)"; no units for a pure number or where they repeat it."""
    name = str(array.attrs.get("long_name", array.name)).replace("_", " ")
    units = str(array.attrs.get("units", "1"))
    return name if units in ("1", "", name) else f"{name} ({units})"


def _finish(ax: Axes) -> None:
    ax.grid(True, alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(x=0.02)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, handlelength=3.0)
