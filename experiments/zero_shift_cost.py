"""Fig. 1b of arXiv 2602.21321: pulses that zero-shifting needs, against the size of a pulse.

    python -m experiments.zero_shift_cost --help

512 x 512 cells of `figure_1_soft_bounds` start at -0.5; the number of pulses is the smallest on the
grid 200, 500, 1000, 2000, 4000, ... at which the mean of the estimates is within 1 % of the mean of
the true symmetric points. The closed form of cyclic zero-shifting (`method="aggregate"`) makes
8 million pulses cost what one costs. Beside the grid value stands the number of pulses at which the
error falls below 1 % exactly, whose slope against dw_min in the log-log plot is measured.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sptrack as spt
from experiments import distributed, study, tables

REFERENCE = Path(__file__).parent / "reference" / "figure_1b_pulses.csv"
DW_MINS = (5e-3, 1e-3, 2e-4, 4e-5, 8e-6, 1.6e-6)
GRID = (200, 500, *(1000 * 2**j for j in range(14)))


@dataclasses.dataclass(frozen=True)
class Config:
    """Count pulses to the symmetric point; writes zero_shift_cost.csv, .nc, .png, manifest.json.

    Attributes:
      size: lines of the square array.
      start: weight where all cells start.
      accuracy: error of the mean, relative to the mean symmetric point.
      seeds: arrays per pulse size.
      out: folder for the results.
      overwrite: replace results of another configuration in that folder.
      resume: keep the pulse sizes that an earlier run has finished.
      distributed: share the pulse sizes out among the processes of a Slurm (or other) job.
      smoke: a small array and three pulse sizes, to see that everything works.
    """

    size: int = 512
    start: float = -0.5
    accuracy: float = 0.01
    seeds: int = 3
    out: Path = Path("runs/zero_shift_cost")
    overwrite: bool = False
    resume: bool = False
    distributed: bool = False
    smoke: bool = False


def pulses_needed(dw_min: float, config: Config) -> study.Records:
    """Pulses on the grid, and exactly, per array; NaN where the grid ends too early."""
    spec = spt.presets.figure_1_soft_bounds(dw_min=dw_min)
    on_grid, exactly = [], []
    for seed in range(config.seeds):
        sample, pulse = jax.random.split(jax.random.fold_in(jax.random.key(0), seed))
        device = spt.sample_device(sample, spec, (config.size, config.size))
        truth = float(spt.symmetric_point(device).mean())
        start = jnp.full(spt.symmetric_point(device).shape, config.start)

        def error(n, device=device, truth=truth, start=start, pulse=pulse):
            found = spt.zero_shift(pulse, device, start, n, first="down", method="aggregate")
            return abs(float(found.estimate.mean()) / truth - 1)

        n = next((n for n in GRID if error(n) < config.accuracy), None)
        on_grid.append(np.nan if n is None else n)
        exactly.append(np.nan if n is None else _fewest(error, n, config.accuracy))
    return {"pulses_on_grid": np.array(on_grid), "pulses": np.array(exactly)}


def _fewest(error: Any, enough: int, accuracy: float) -> float:
    """The fewest pairs of pulses, in pulses; the error falls with the number of pairs."""
    too_few, pairs = 0, enough // 2
    while pairs - too_few > max(1, pairs // 1000):
        middle = (too_few + pairs) // 2
        too_few, pairs = (too_few, middle) if error(2 * middle) < accuracy else (middle, pairs)
    return 2.0 * pairs


def run(config: Config) -> Any:
    """Does all pulse sizes; each one is kept as it finishes."""
    dw_mins = DW_MINS
    if config.smoke:
        config, dw_mins = dataclasses.replace(config, size=64, seeds=1), DW_MINS[:3]
    if min(config.size, config.seeds) < 1 or not 0 < config.accuracy < 1:
        raise SystemExit(
            "--size and --seeds must be at least 1, --accuracy between 0 and 1, got "
            f"{config.size}, {config.seeds} and {config.accuracy:g}."
        )
    finished = study.collect(
        config.out,
        {f"dw_min_{dw:g}": lambda dw=dw: pulses_needed(dw, config) for dw in dw_mins},
        spt.results.manifest({"config": dataclasses.asdict(config)}, seed=0),
        lambda records: write(config.out, label(records)),
        resume=config.resume,
        overwrite=config.overwrite,
    )
    return label(finished)


def label(finished: dict[str, study.Records]) -> Any:
    """Names and units for the records."""
    names = {
        "pulses_on_grid": "smallest number of pulses on the grid",
        "pulses": "smallest number of pulses, to a thousandth",
    }
    variables = {
        name: (
            ("dw_min", "seed"),
            np.stack([records[name] for records in finished.values()]),
            {"units": "pulse/cell", "long_name": long_name},
        )
        for name, long_name in names.items()
    }
    dw_mins = [float(name.removeprefix("dw_min_")) for name in finished]
    return spt.results.to_dataset(
        variables, coords={"dw_min": (("dw_min",), np.array(dw_mins), {"units": "weight"})}
    )


def published() -> dict[float, int]:
    """dw_min -> pulses on the grid by the noise-free recursion."""
    rows = tables.read_csv(REFERENCE)
    return {float(row["dw_min"]): int(row["smallest_N_on_grid_mine"]) for row in rows}


def rows(dataset: Any) -> list[dict[str, Any]]:
    """One row per pulse size; None where the grid ends too early for an array."""
    known, table = published(), []
    for dw in dataset.dw_min.values:
        at = dataset.sel(dw_min=dw)
        enough = bool(at.pulses.notnull().all())
        table.append(
            {
                "dw_min": float(dw),
                "pulses_on_grid": int(at.pulses_on_grid.max()) if enough else None,
                "reference": known.get(float(dw)),
                "pulses": float(at.pulses.mean()) if enough else None,
            }
        )
    return table


def slope(table: list[dict[str, Any]]) -> float:
    """Slope of log pulses against log dw_min; NaN for less than two points."""
    points = [[row["dw_min"], row["pulses"]] for row in table if row["pulses"] is not None]
    if len(points) < 2:
        return float("nan")
    logs = np.log(points)
    return float(np.polyfit(*logs.T, 1)[0])


def write(folder: Path, dataset: Any) -> None:
    """Writes zero_shift_cost.csv, .nc and .png."""
    study.write(folder, "zero_shift_cost", rows(dataset), dataset, draw)


def draw(table: list[dict[str, Any]], path: Path) -> None:
    """Pulses against pulse size, log-log."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(6.5, 4.4), layout="constrained")
    found = [row for row in table if row["pulses"] is not None]
    dw = [row["dw_min"] for row in found]
    text = f"smallest number, mean of the arrays, slope {slope(table):.3f}"
    ax.loglog(dw, [row["pulses"] for row in found], "o-", color="#0072B2", label=text)
    ax.loglog(dw, [row["pulses_on_grid"] for row in found], "s", mfc="none", color="#D55E00",
              label="smallest number on the grid of the paper")  # fmt: skip
    ax.invert_xaxis()
    ax.set_xlabel("weight change of a pulse, dw_min (weight units)")
    ax.set_ylabel("pulses per cell")
    ax.grid(alpha=0.3, which="both")
    ax.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    config = tyro.cli(Config, args=arguments, prog="python -m experiments.zero_shift_cost")
    distributed.start(config.distributed)
    table = rows(run(config))
    print(tables.text(table))
    print(f"slope of log pulses against log dw_min: {slope(table):.3f}")
    print(f"Results: {config.out}/zero_shift_cost.csv, .nc, .png", file=sys.stderr)


if __name__ == "__main__":
    main()
