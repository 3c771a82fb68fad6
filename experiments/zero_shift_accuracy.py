"""Fig. 1a of arXiv 2602.21321: how far zero-shifting with N pulses is from the symmetric points.

    python -m experiments.zero_shift_accuracy --help

512 x 512 cells of `figure_1_soft_bounds` start at -0.5 and get alternating pulses, the first one
down. Compared are the mean and the std over cells of the estimates with those of the true symmetric
points, as the paper does (estimate minus truth; the paper plots truth minus estimate), and the RMS
error of the single cell, which the paper doesn't show. Published numbers are read from
`reference/figure_1a_offsets.csv`: "reference" is a recursion of the same rule, "released" are means
in the authors' plotting script, to which N was assigned by value.
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

REFERENCE = Path(__file__).parent / "reference" / "figure_1a_offsets.csv"
PUBLISHED = {
    "mean_offset": "mean_offset_est_minus_truth_mine",
    "std_offset": "std_offset_est_minus_truth_mine",
    "mean_offset_released": "mean_offset_repo",
}
UNITS = {
    "mean_offset": ("weight", "mean of estimates minus mean of symmetric points"),
    "std_offset": ("weight", "std of estimates minus std of symmetric points"),
    "rms_error": ("weight", "RMS error of a cell"),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Zero-shift an array; writes zero_shift_accuracy.csv, .nc, .png and manifest.json.

    Attributes:
      size: lines of the square array.
      dw_min: weight change of a pulse.
      start: weight where all cells start.
      step: pulses between two points of the curve.
      steps: points of the curve.
      seeds: arrays.
      out: folder for the results.
      overwrite: replace results of another configuration in that folder.
      resume: keep the seeds that an earlier run has finished.
      distributed: share the seeds out among the processes of a Slurm (or other) job.
      smoke: a small array, to see that everything works.
    """

    size: int = 512
    dw_min: float = 0.001
    start: float = -0.5
    step: int = 500
    steps: int = 16
    seeds: int = 3
    out: Path = Path("runs/zero_shift_accuracy")
    overwrite: bool = False
    resume: bool = False
    distributed: bool = False
    smoke: bool = False


def offsets(key: Any, config: Config) -> study.Records:
    """The three errors of one array after every `step` pulses, shape (steps,)."""
    spec = spt.presets.figure_1_soft_bounds(dw_min=config.dw_min)
    sample, pulse = jax.random.split(key)
    device = spt.sample_device(sample, spec, (config.size, config.size))
    truth = spt.symmetric_point(device)
    start = jnp.full(truth.shape, config.start)

    @jax.jit
    def follow(device, truth, w):
        def block(w, _):
            # No cycle noise, and an even number of pulses: blocks are the one long pulse train.
            w = spt.zero_shift(pulse, device, w, config.step, first="down").weight
            error = {
                "mean_offset": w.mean() - truth.mean(),
                "std_offset": w.std() - truth.std(),
                "rms_error": jnp.sqrt(jnp.mean((w - truth) ** 2)),
            }
            return w, error

        return jax.lax.scan(block, w, length=config.steps)[1]

    return jax.tree.map(np.asarray, follow(device, truth, start))


def run(config: Config) -> Any:
    """Does all seeds; each one is kept as it finishes. Returns the labelled dataset."""
    if config.smoke:
        config = dataclasses.replace(config, size=64, seeds=1)
    if min(config.size, config.steps, config.seeds) < 1 or config.step < 2 or config.step % 2:
        raise SystemExit(
            "--size, --steps and --seeds must be at least 1, --step even and >= 2, got "
            f"{config.size}, {config.steps}, {config.seeds} and {config.step}."
        )

    def part(seed):
        return lambda: offsets(jax.random.fold_in(jax.random.key(0), seed), config)

    finished = study.collect(
        config.out,
        {f"seed_{seed}": part(seed) for seed in range(config.seeds)},
        spt.results.manifest({"config": dataclasses.asdict(config)}, seed=0),
        lambda records: write(config.out, label(records, config)),
        resume=config.resume,
        overwrite=config.overwrite,
    )
    return label(finished, config)


def label(finished: dict[str, study.Records], config: Config) -> Any:
    """Names and units for the records."""
    variables = {
        name: (
            ("seed", "pulses"),
            np.stack([records[name] for records in finished.values()]),
            {"units": unit, "long_name": long_name},
        )
        for name, (unit, long_name) in UNITS.items()
    }
    pulses = config.step * np.arange(1, config.steps + 1)
    return spt.results.to_dataset(variables, coords={"pulses": pulses})


def published() -> dict[int, dict[str, float | None]]:
    """Number of pulses -> published offsets by name."""
    return {
        int(row["N"]): {k: float(row[v]) if row[v] else None for k, v in PUBLISHED.items()}
        for row in tables.read_csv(REFERENCE)
    }


def rows(dataset: Any) -> list[dict[str, Any]]:
    """One row per number of pulses: mean and std over arrays, beside what was published."""
    known, table = published(), []
    for n in dataset.pulses.values:
        at = dataset.sel(pulses=n)
        row: dict[str, Any] = {"pulses": int(n)}
        for name in UNITS:
            row[name] = float(at[name].mean())
        there = known.get(int(n), dict.fromkeys(PUBLISHED))
        row |= {f"{k}_reference".replace("released_reference", "released"): v
                for k, v in there.items()}  # fmt: skip
        table.append(row)
    return table


def write(folder: Path, dataset: Any) -> None:
    """Writes zero_shift_accuracy.csv, .nc and .png."""
    study.write(folder, "zero_shift_accuracy", rows(dataset), dataset, draw)


def draw(table: list[dict[str, Any]], path: Path) -> None:
    """Offsets against pulses, ours as lines and published ones as markers."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    pulses = [row["pulses"] for row in table]
    for name, colour, text in (
        ("mean_offset", "#0072B2", "mean over cells"),
        ("std_offset", "#D55E00", "std over cells"),
    ):
        left.plot(pulses, [row[name] for row in table], color=colour, label=text)
        known = [(r["pulses"], r[f"{name}_reference"]) for r in table]
        known = [point for point in known if point[1] is not None]
        if known:
            left.plot(*zip(*known, strict=True), "o", mfc="none", color=colour,
                      label=f"{text}, reference recursion")  # fmt: skip
    released = [(r["pulses"], r["mean_offset_released"]) for r in table]
    released = [point for point in released if point[1] is not None]
    if released:
        left.plot(*zip(*released, strict=True), "kx", label="mean, authors' script")
    left.axhline(0, color="grey", lw=0.8)
    left.set_xlabel("pulses per cell")
    left.set_ylabel("estimate minus truth (weight units)")
    left.set_title("Statistics of the array")
    left.legend()
    right.semilogy(pulses, [row["rms_error"] for row in table], color="#009E73")
    right.set_xlabel("pulses per cell")
    right.set_ylabel("RMS error of a cell (weight units)")
    right.set_title("Error of the single cell")
    right.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    config = tyro.cli(Config, args=arguments, prog="python -m experiments.zero_shift_accuracy")
    distributed.start(config.distributed)
    print(tables.text(rows(run(config))))
    print(f"Results: {config.out}/zero_shift_accuracy.csv, .nc, .png", file=sys.stderr)


if __name__ == "__main__":
    main()
