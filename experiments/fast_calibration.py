"""Symmetric points from fewer pulses: zero-shifting beside estimators that know what cells do.

    python -m experiments.fast_calibration --help

Cells start at -0.5. Cyclic zero-shifting (the last read, and the mean of the reads after the last
half of the pulses) is compared with `spt.extrapolate_zero_shift` and `spt.fit_symmetric_point`, of
pulses that alternate, of half of them up, half of them down ("bursts"), and of pulses that
`spt.design_pulses` has found for another array of the same kind ("designed"), without and with
noise of reads. Counted are pulses per cell; reads are given beside them. With five reads per pulse
a fit of N / 10 pulses has as many as the mean of the last half of N. Errors are RMS over cells and
seeds, every seed an array of its own. The factor at equal error is the number of pulses after which
zero-shifting has got the error of our estimate for the first time, over ours; where it never does,
"> " and the factor at the end of its run. The estimators take steps to be affine: cells of
`wrong_power` (power 2) and `wrong_exponential` have others.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

import sptrack as spt
from experiments import distributed, study, tables

START = -0.5
DESIGNED = 1000  # seed of the array that pulses are designed for
Cells = Literal[
    "figure_1_soft_bounds", "reram_array_om", "ecram", "wrong_power", "wrong_exponential"
]
CELLS: dict[Cells, Callable[[], Any]] = {
    "figure_1_soft_bounds": spt.presets.figure_1_soft_bounds,
    "reram_array_om": spt.presets.reram_array_om,
    "ecram": spt.presets.ecram,
    "wrong_power": lambda: spt.PowStep(
        dw_min=0.005, pow_gamma=2.0, w_max=1.0, w_min=-1.0, up_down=0.2, up_down_dtod=0.1,
        dw_min_std=0.3,
    ),
    "wrong_exponential": spt.presets.reram_es,
}  # fmt: skip
OURS = ("extrapolated", "fit", "fit of bursts", "fit of bursts, 5 reads", "fit of designed")
ZERO_SHIFTS = ("zero-shift, last", "zero-shift, tail")


@dataclasses.dataclass(frozen=True)
class Config:
    """Errors against pulses; writes fast_calibration.csv, .png and manifest.json.

    Attributes:
      cells: kinds of cells.
      read_noises: standard deviations of a read, in weight units.
      size: cells of an array.
      seeds: arrays, at least 2.
      pulses: numbers of pulses at which our estimators are tried.
      longest: pulses of zero-shifting.
      out: folder for the results.
      overwrite: replace results of another configuration in that folder.
      resume: keep the parts that an earlier run has finished.
      distributed: share the parts out among the processes of a Slurm (or other) job.
      smoke: one kind of few cells and one number of pulses, to see that everything works.
    """

    cells: tuple[Cells, ...] = get_args(Cells)
    read_noises: tuple[float, ...] = (0.0, 0.06)
    size: int = 128
    seeds: int = 5
    pulses: tuple[int, ...] = (25, 50, 100, 200, 400)
    longest: int = 16000
    out: Path = Path("runs/fast_calibration")
    overwrite: bool = False
    resume: bool = False
    distributed: bool = False
    smoke: bool = False


def errors(name: Cells, read_noise: float, config: Config) -> study.Records:
    """The records of all seeds, on a leading axis."""
    of_seeds = [seed_errors(name, read_noise, seed, config) for seed in range(config.seeds)]
    return {kind: np.stack([one[kind] for one in of_seeds]) for kind in of_seeds[0]}


def seed_errors(name: Cells, read_noise: float, seed: int, config: Config) -> study.Records:
    """RMS errors over the cells that have a symmetric point, ours and zero-shifting's curves."""
    sample, pulse, ours = jax.random.split(jax.random.key(seed), 3)
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
            found.append(estimated(kind, key, name, device, start, n, read_noise))
        records[kind] = rms([one.estimate for one in found])
        records[f"reads, {kind}"] = np.array([int(one.reads) for one in found])
        stated = [float(jnp.sqrt(jnp.nanmean(one.std_error**2))) for one in found]
        records[f"stated, {kind}"] = np.array(stated)
    return records


@functools.cache
def designed(name: Cells, size: int, n: int, read_noise: float) -> np.ndarray:
    """Directions of pulses for cells of this kind, the same for all seeds."""
    like = spt.sample_device(jax.random.key(DESIGNED), CELLS[name](), (size,))
    start = jnp.full(size, START)
    return spt.design_pulses(like, start, n, read_noise_std=read_noise).directions


def estimated(
    kind: str, key: Any, name: Cells, device: Any, w: Any, n: int, read_noise: float
) -> spt.CalibrationResult:
    """What one of our estimators finds with n pulses."""
    if kind == "extrapolated":
        return spt.extrapolate_zero_shift(key, device, w, n, read_noise_std=read_noise)
    burst = n // 2 if "bursts" in kind else 0
    reads = 5 if kind.endswith("5 reads") else 1
    directions = designed(name, w.size, n, read_noise) if "designed" in kind else None
    return spt.fit_symmetric_point(
        key, device, w, n,
        burst=burst, directions=directions, reads=reads, read_noise_std=read_noise,
    )  # fmt: skip


def zero_shift_grid(config: Config) -> np.ndarray:
    """Even numbers of pulses, twenty to a decade."""
    steps = int(20 * np.log10(config.longest / 10)) + 1
    raw = 10 * 10 ** (np.arange(steps + 1) / 20)
    return np.unique(np.minimum(2 * np.round(raw / 2), config.longest).astype(int))


def pooled(values: np.ndarray) -> np.ndarray:
    """Root of the mean over seeds of squares."""
    return np.sqrt(np.mean(values**2, axis=0))


def pulses_to(error: float, curve: np.ndarray, grid: np.ndarray) -> float | None:
    """Pulses at which zero-shifting has this error for the first time; None if it never does."""
    reached = np.flatnonzero(curve <= error)
    return float(grid[reached[0]]) if reached.size else None


def factor(error: float, curve: np.ndarray, grid: np.ndarray, n: int) -> str:
    """Pulses of zero-shifting at equal error, over ours."""
    needed = pulses_to(error, curve, grid)
    return f"> {grid[-1] / n:.4g}" if needed is None else f"{needed / n:.4g}"


def rows(finished: dict[str, study.Records], config: Config) -> list[dict[str, Any]]:
    """One row per cells, read noise, estimator and number of pulses."""
    grid, table = zero_shift_grid(config), []
    for part, records in finished.items():
        name, read_noise = part.rsplit("_noise_", 1)
        curves = {other: pooled(records[other]) for other in ZERO_SHIFTS}
        for kind in OURS:
            squares = records[kind] ** 2
            error, stated = pooled(records[kind]), pooled(records[f"stated, {kind}"])
            spread = squares.std(axis=0, ddof=1) / np.sqrt(len(squares)) / (2 * error)
            for index, n in enumerate(config.pulses):
                row: dict[str, Any] = {
                    "cells": name,
                    "read_noise": float(read_noise),
                    "estimator": kind,
                    "pulses": n,
                    "reads": int(records[f"reads, {kind}"][0][index]),
                    "rms_error": float(error[index]),
                    "rms_error_se": float(spread[index]),
                    "stated_error": float(stated[index]),
                }
                for other in ZERO_SHIFTS:
                    short, at = other.split()[-1], np.searchsorted(grid, 10 * n)
                    row[f"{short} at 10 x"] = float(curves[other][at]) if at < len(grid) else None
                    row[f"factor to {short}"] = factor(error[index], curves[other], grid, n)
                better = np.minimum(*curves.values())
                row["factor to better"] = factor(error[index], better, grid, n)
                table.append(row)
    return table


def factors(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per cells, read noise and estimator: factors to the better read-out, by pulses."""
    lines: dict[tuple, dict[str, Any]] = {}
    for row in table:
        names = ("cells", "read_noise", "estimator")
        line = lines.setdefault(
            tuple(row[name] for name in names), {name: row[name] for name in names}
        )
        line[f"N = {row['pulses']}"] = row["factor to better"]
    return list(lines.values())


def draw(finished: dict[str, study.Records], config: Config, path: Path) -> None:
    """Error against pulses, a panel for each kind of cells and read noise."""
    import matplotlib.pyplot as plt

    names, noises = config.cells, config.read_noises
    figure, axes = plt.subplots(
        len(noises), len(names), figsize=(3.4 * len(names), 3 * len(noises)), squeeze=False,
        sharex=True, layout="constrained",
    )  # fmt: skip
    grid = zero_shift_grid(config)
    for column, name in enumerate(names):
        for line, noise in enumerate(noises):
            ax, records = axes[line][column], finished.get(f"{name}_noise_{noise:g}")
            ax.set_title(f"{name}, read noise {noise:g}", fontsize=9)
            if records is None:
                continue
            for other, style in zip(ZERO_SHIFTS, ("-", "--"), strict=True):
                ax.loglog(grid, pooled(records[other]), style, color="grey", label=other)
            for kind, colour in zip(OURS, tables.COLOURS, strict=False):
                ax.loglog(config.pulses, records[kind].T, ".", ms=3, color=colour, alpha=0.5)
                error = pooled(records[kind])
                ax.loglog(config.pulses, error, "o-", ms=4, color=colour, label=kind)
            ax.set_ylim(bottom=3e-5)
            ax.grid(alpha=0.3)
    axes[0][0].legend(fontsize=7)
    figure.supxlabel("pulses per cell")
    figure.supylabel("RMS error of the symmetric point (weight)")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def run(config: Config) -> list[dict[str, Any]]:
    """Does all cells and read noises; each one is kept as it finishes."""
    if config.smoke:
        few: dict[str, Any] = {"cells": ("wrong_power",), "read_noises": (0.06,)}
        config = dataclasses.replace(config, size=16, seeds=2, pulses=(48,), longest=480, **few)
    if min(config.pulses, default=0) < 16 or min(config.size, config.seeds) < 2:
        raise SystemExit("--pulses must be at least 16 each, --size and --seeds 2.")
    if not config.cells or min(config.read_noises, default=-1) < 0:
        raise SystemExit("--cells needs a kind, --read-noises a number of at least 0.")
    if config.longest < 20:
        raise SystemExit(f"--longest must be at least 20, got {config.longest}.")
    parts = {
        f"{name}_noise_{noise:g}": lambda name=name, noise=noise: errors(name, noise, config)
        for name in config.cells
        for noise in config.read_noises
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
    table = run(config)
    print(tables.text(table))
    print("\nPulses of zero-shifting over ours at equal error, to the better of its two read-outs")
    print(tables.text(factors(table)))
    print(f"Results: {config.out}/fast_calibration.csv, .png", file=sys.stderr)


if __name__ == "__main__":
    main()
