"""The figure of `python -m experiments.theory`: six panels, markers simulated, lines theory."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.tables import COLOURS

# Colours can be told apart by everybody, and markers differ too.
MARKERS = ("o", "s", "^", "D", "v")
NAMES = {
    "rider": "RIDER",
    "residual_learning": "residual learning, true SP",
    "erider": "E-RIDER",
}


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draws all parts of the rows and saves them."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(15, 9), layout="constrained")
    _pulses(axes[0, 0], rows, "stochastic", "Random pulses: exact (lines), Theorem C.2 (dotted)")
    _pulses(axes[0, 1], rows, "cyclic", "Alternating pulses: exact (lines), Theorem C.4 (dotted)")
    _floors(axes[0, 2], rows)
    _metric(axes[1, 0], rows, "ideal", "Convergence metric, ideal W array")
    _metric(axes[1, 1], rows, "same_kind_SP", "Convergence metric, W array like P")
    _filter(axes[1, 2], rows)
    for ax in axes.flat:
        ax.grid(True, alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(edgecolor="none", framealpha=0.8, fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _series(rows: list[dict[str, Any]], part: str) -> dict[str, dict[str, np.ndarray]]:
    """Columns by series of one part, in the order of the rows."""
    names = dict.fromkeys(r["series"] for r in rows if r["part"] == part)
    columns = ("x", "simulated", "standard_error", "theory", "bound", "reference")
    return {
        name: {
            column: np.array(
                [
                    np.nan if r[column] is None else r[column]
                    for r in rows
                    if r["part"] == part and r["series"] == name
                ]
            )
            for column in columns
        }
        for name in names
    }


def _pulses(ax: Any, rows: list[dict[str, Any]], part: str, title: str) -> None:
    """Squared error against pulses; every second pulse size, for space."""
    series = list(_series(rows, part).items())
    for i, (name, values) in enumerate(series[:: 2 if len(series) > 3 else 1]):
        colour = COLOURS[i]
        label = name.replace("dw_min=", r"$\Delta w_{\min}$ = ")
        ax.plot(values["x"], values["simulated"], MARKERS[i], color=colour, ms=4, label=label)
        ax.plot(values["x"], values["theory"], color=colour, lw=1.5)
        ax.plot(values["x"], values["bound"], ":", color=colour, lw=1.5)
    ax.set(xscale="log", yscale="log", title=title)
    ax.set_xlabel("pulses per cell")
    ax.set_ylabel("squared error (weight units²)")


def _floors(ax: Any, rows: list[dict[str, Any]]) -> None:
    for i, (name, values) in enumerate(_series(rows, "floor").items()):
        colour = COLOURS[i]
        label = {"stochastic": "random pulses", "cyclic": "alternating pulses"}[name]
        ax.plot(values["x"], values["simulated"], MARKERS[i], color=colour, label=label)
        ax.plot(values["x"], values["theory"], color=colour, lw=1.5)
        ax.plot(values["x"], values["bound"], ":", color=colour, lw=1.5)
    ax.plot([], [], "k-", label="exact")
    ax.plot([], [], "k:", label="Theorems C.2, C.4")
    ax.set(xscale="log", yscale="log", title="What zero-shifting ends with")
    ax.set_xlabel(r"pulse size $\Delta w_{\min}$ (weight units)")
    ax.set_ylabel("squared error (weight units²)")


def _metric(ax: Any, rows: list[dict[str, Any]], w_array: str, title: str) -> None:
    for i, (name, values) in enumerate(_series(rows, f"convergence, {w_array} W").items()):
        ax.errorbar(
            values["x"],
            values["simulated"],
            values["standard_error"],
            fmt=MARKERS[i] + "-",
            color=COLOURS[i],
            capsize=3,
            label=NAMES[name],
        )
        ax.plot(values["x"], values["reference"], "x", color=COLOURS[i], ms=9)
        if np.isfinite(values["bound"]).all():
            bound = values["bound"].mean()
            ax.axhline(bound, color=COLOURS[i], ls=":", label="lower bound of RIDER")
    steps = np.array([1e3, 1e5])
    ax.plot(steps, 0.05 * np.sqrt(1e3 / steps), color="0.5", ls="--", label=r"slope $-1/2$")
    ax.plot([], [], "kx", label="reference, one run")
    ax.set(xscale="log", yscale="log", title=title)
    ax.set_xlabel("steps K")
    ax.set_ylabel(r"$E_K$ (weight units²)")


def _filter(ax: Any, rows: list[dict[str, Any]]) -> None:
    for i, (name, values) in enumerate(_series(rows, "filter").items()):
        label = name.replace("eta=", r"$\eta$ = ")
        ax.plot(values["x"], values["simulated"], MARKERS[i], color=COLOURS[i], ms=4, label=label)
        ax.plot(values["x"], values["theory"], color=COLOURS[i], lw=1.5)
    for chop_prob, style in ((0.01, "--"), (0.1, "-.")):
        ax.axvline(
            np.pi * chop_prob,
            color="0.4",
            ls=style,
            lw=1.2,
            label=rf"$\pi p$, chopper at $p$ = {chop_prob}",
        )
    ax.set(xscale="log", yscale="log", title="Gain of the filter: FFT, Lemma 3.10 (lines)")
    ax.set_xlabel(r"angular frequency $\omega$ (rad per step)")
    ax.set_ylabel(r"gain $|H|$")
