"""Symmetric points from fewer pulses: zero-shifting beside estimators that know what cells do.

    python -m experiments.fast_calibration --help

Cells start at -0.5. Cyclic zero-shifting (the last read, and the mean of the reads after the last
half of the pulses) is compared with `spt.extrapolate_zero_shift` and `spt.fit_symmetric_point`
(pulses that alternate, and a burst up and one down before), without and with noise of reads.
Counted are pulses per cell; reads are given beside them. The factor at equal error is the number of
pulses after which zero-shifting has got the RMS error of our estimate for the first time, over
ours; where it never does, "> " and the factor at the end of its run. The estimators take steps to
be affine: cells of `wrong_power` (power 2) and `wrong_exponential` have others.
"""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sptrack as spt
from experiments import distributed, study, tables

START = -0.5
CELLS: dict[str, Callable[[], Any]] = {
    "figure_1_soft_bounds": spt.presets.figure_1_soft_bounds,
    "reram_array_om": spt.presets.reram_array_om,
    "ecram": spt.presets.ecram,
    "wrong_power": lambda: spt.PowStep(
        dw_min=0.005, pow_gamma=2.0, w_max=1.0, w_min=-1.0, up_down=0.2, up_down_dtod=0.1,
        dw_min_std=0.3,
    ),
    "wrong_exponential": spt.presets.reram_es,
}  # fmt: skip
READ_NOISES = 0.0, 0.06
OURS = ("extrapolated", "fit", "fit after bursts")
ZERO_SHIFTS = ("zero-shift, last", "zero-shift, tail")


@dataclasses.dataclass(frozen=True)
class Config:
    """Errors against pulses; writes fast_calibration.csv, .png and manifest.json.

    Attributes:
      size: cells of an array.
      pulses: numbers of pulses at which our estimators are tried.
      longest: pulses of zero-shifting.
      out: folder for the results.
      overwrite: replace results of another configuration in that folder.
      resume: keep the parts that an earlier run has finished.
      distributed: share the parts out among the processes of a Slurm (or other) job.
      smoke: few cells and pulses, to see that everything works.
    """

    size: int = 256
    pulses: tuple[int, ...] = (25, 50, 100, 200, 400, 800)
    longest: int = 16000
    out: Path = Path("runs/fast_calibration")
    overwrite: bool = False
    resume: bool = False
    distributed: bool = False
    smoke: bool = False


def errors(name: str, read_noise: float, config: Config) -> study.Records:
    """RMS errors over the cells that have a symmetric point, ours and zero-shifting's curves."""
    sample, pulse, ours = jax.random.split(jax.random.key(0), 3)
    device = spt.sample_device(sample, CELLS[name](), (config.size,))
    truth = spt.symmetric_point(device)
    start = jnp.full(config.size, START)

    def rms(estimates):
        return np.sqrt(np.nanmean((np.asarray(estimates) - np.asarray(truth)) ** 2, axis=-1))

    trace = spt.zero_shift(
        pulse, device, start, config.longest, read_noise_std=read_noise, record_every=1
    ).trace
    assert trace is not None
    sums = np.concatenate([np.zeros((1, config.size)), np.cumsum(trace, axis=0, dtype=float)])
    grid = zero_shift_grid(config)
    records = {
        ZERO_SHIFTS[0]: rms(trace[grid - 1]),
        ZERO_SHIFTS[1]: rms((sums[grid] - sums[grid // 2]) / (grid - grid // 2)[:, None]),
    }
    for index, kind in enumerate(OURS):
        found = []
        for n in config.pulses:
            key = jax.random.fold_in(jax.random.fold_in(ours, index), n)
            found.append(estimated(kind, key, device, start, n, read_noise))
        records[kind] = rms([one.estimate for one in found])
        records[f"reads, {kind}"] = np.array([int(one.reads) for one in found])
        stated = [float(jnp.sqrt(jnp.nanmean(one.std_error**2))) for one in found]
        records[f"stated, {kind}"] = np.array(stated)
    return records


def estimated(kind: str, key: Any, device: Any, w: Any, n: int, read_noise: float) -> Any:
    """What one of our estimators finds with n pulses."""
    if kind == "extrapolated":
        return spt.extrapolate_zero_shift(key, device, w, n, read_noise_std=read_noise)
    burst = 0 if kind == "fit" else min(n // 4, 50)
    return spt.fit_symmetric_point(key, device, w, n, burst=burst, read_noise_std=read_noise)


def zero_shift_grid(config: Config) -> np.ndarray:
    """Even numbers of pulses, twenty to a decade."""
    steps = int(20 * np.log10(config.longest / 10)) + 1
    raw = 10 * 10 ** (np.arange(steps + 1) / 20)
    return np.unique(np.minimum(2 * np.round(raw / 2), config.longest).astype(int))


def pulses_to(error: float, curve: np.ndarray, grid: np.ndarray) -> float | None:
    """Pulses at which zero-shifting has this error for the first time; None if it never does."""
    reached = np.flatnonzero(curve <= error)
    return float(grid[reached[0]]) if reached.size else None


def rows(finished: dict[str, study.Records], config: Config) -> list[dict[str, Any]]:
    """One row per cells, read noise, estimator and number of pulses."""
    grid, table = zero_shift_grid(config), []
    for part, records in finished.items():
        name, read_noise = part.rsplit("_noise_", 1)
        for kind in OURS:
            for index, n in enumerate(config.pulses):
                error = float(records[kind][index])
                row: dict[str, Any] = {
                    "cells": name,
                    "read_noise": float(read_noise),
                    "estimator": kind,
                    "pulses": n,
                    "reads": int(records[f"reads, {kind}"][index]),
                    "rms_error": error,
                    "stated_error": float(records[f"stated, {kind}"][index]),
                }
                for other in ZERO_SHIFTS:
                    short = other.split()[-1]
                    at = np.searchsorted(grid, 10 * n)
                    same = records[other][at] if at < len(grid) else None
                    needed = pulses_to(error, records[other], grid)
                    factor = f"> {grid[-1] / n:.4g}" if needed is None else f"{needed / n:.4g}"
                    row[f"{short} at 10 x"] = None if same is None else float(same)
                    row[f"factor to {short}"] = factor
                table.append(row)
    return table


def draw(finished: dict[str, study.Records], config: Config, path: Path) -> None:
    """Error against pulses, a panel for each kind of cells and read noise."""
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(part.rsplit("_noise_", 1)[0] for part in finished))
    figure, axes = plt.subplots(
        len(READ_NOISES), len(names), figsize=(3.4 * len(names), 6), squeeze=False, sharex=True,
        layout="constrained",
    )  # fmt: skip
    grid = zero_shift_grid(config)
    for column, name in enumerate(names):
        for line, noise in enumerate(READ_NOISES):
            ax, records = axes[line][column], finished.get(f"{name}_noise_{noise:g}")
            ax.set_title(f"{name}, read noise {noise:g}", fontsize=9)
            if records is None:
                continue
            for other, style in zip(ZERO_SHIFTS, ("-", "--"), strict=True):
                ax.loglog(grid, records[other], style, color="grey", label=other)
            for kind, colour in zip(OURS, tables.COLOURS, strict=False):
                ax.loglog(config.pulses, records[kind], "o-", ms=4, color=colour, label=kind)
            ax.set_ylim(bottom=3e-5)
            ax.grid(alpha=0.3)
    axes[0][0].legend(fontsize=7)
    figure.supxlabel("pulses per cell")
    figure.supylabel("RMS error of the symmetric point (weight)")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def run(config: Config) -> list[dict[str, Any]]:
    """Does all cells and read noises; results are written as each one finishes."""
    if config.smoke:
        config = dataclasses.replace(config, size=16, pulses=(48,), longest=480)
    if min(config.pulses, default=0) < 16 or config.size < 2 or config.longest < 20:
        raise SystemExit("--pulses must be at least 16 each, --size 2, --longest 20.")
    parts = {
        f"{name}_noise_{noise:g}": lambda name=name, noise=noise: errors(name, noise, config)
        for name in CELLS
        for noise in READ_NOISES
    }

    def publish(records: dict[str, study.Records]) -> None:
        tables.write_csv(rows(records, config), config.out / "fast_calibration.csv")
        draw(records, config, config.out / "fast_calibration.png")

    finished = study.collect(
        config.out,
        parts,
        spt.results.manifest({"config": dataclasses.asdict(config)}, seed=0),
        publish,
        resume=config.resume,
        overwrite=config.overwrite,
    )
    return rows(finished, config)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    config = tyro.cli(Config, args=arguments, prog="python -m experiments.fast_calibration")
    distributed.start(config.distributed)
    print(tables.text(run(config)))
    print(f"Results: {config.out}/fast_calibration.csv, .png", file=sys.stderr)


if __name__ == "__main__":
    main()
