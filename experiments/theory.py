"""Theory and simulation side by side: zero-shifting, the convergence metric, the filter.

    python -m experiments.theory --help

1. Zero-shifting: squared error against pulses and its floor against dw_min, with the exact values
   for affine cells and the bounds of Theorems C.2 and C.4.
2. E_K, the convergence metric of Theorem 3.7, against K for RIDER, residual learning with the true
   symmetric points and E-RIDER, on an ideal W array and on one like P, with RIDER's lower bound.
3. The frequency response of the filter that tracks symmetric points (Lemma 3.10).
4. The same algorithms with pulses and a real W array: where W, P and Q end (a table only).
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np

import sptrack as spt
from experiments import study, tables
from experiments.theory_figure import draw
from experiments.theory_pulsed import pulsed_table
from experiments.theory_runs import (
    ALGORITHMS,
    W_ARRAYS,
    convergence_rows,
    filter_rows,
    reference_runs,
    slope,
    zero_shift_rows,
)

DW_MINS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
STEPS = (1000, 3162, 10_000, 31_623, 100_000)
ETAS = (0.01, 0.1, 0.5)


@dataclasses.dataclass(frozen=True)
class Config:
    """Compare theory and simulation; writes theory.csv, theory.png and manifest.json.

    Attributes:
      out: folder for the results; existing ones are replaced.
      seeds: runs per point of the convergence metric, at least 2.
      cells: cells per run of it.
      zero_shift_cells: cells per run of stochastic zero-shifting.
      most_steps: largest K of the convergence metric, at least 3162.
      pulsed_steps: steps of the pulsed runs; the reference has 40 000.
      seed: root of all random numbers.
      smoke: a run of a few seconds, to see that everything works.
    """

    out: Path = Path("runs/theory")
    seeds: int = 16
    cells: int = 200
    zero_shift_cells: int = 2000
    most_steps: int = 100_000
    pulsed_steps: int = 40_000
    seed: int = 0
    smoke: bool = False


def run(config: Config) -> list[dict[str, Any]]:
    """Simulates, prints and writes; returns the rows of theory.csv."""
    if config.seeds < 2 or config.cells < 1 or config.zero_shift_cells < 2:
        raise SystemExit("--seeds and --zero-shift-cells must be at least 2, --cells 1.")
    if config.most_steps < STEPS[1]:
        raise SystemExit(f"--most-steps must be at least {STEPS[1]}, got {config.most_steps}.")
    key = spt.random.fast_key(config.seed)
    manifest = spt.results.manifest({"config": dataclasses.asdict(config)}, seed=key)
    dw_mins = DW_MINS[2:] if config.smoke else DW_MINS
    steps = [k for k in STEPS if k <= config.most_steps]

    shift = zero_shift_rows(key, dw_mins, config.zero_shift_cells)
    floors = [r for r in shift if r["part"] == "floor"]
    print("Squared error that zero-shifting ends with (weight units squared)")
    print(tables.text([_floor(r) for r in floors]))

    metric, by_seed = convergence_rows(key, steps, config.seeds, config.cells)
    print(f"\nE_K, {config.seeds} seeds of {config.cells} cells; in brackets one run of reference")
    print(tables.text(_metric_table(metric, by_seed, steps)))
    bound = next(r["bound"] for r in metric if r["bound"] is not None)
    print(f"RIDER on an ideal W array can't fall below {bound:.4f}, whatever K.")

    response = filter_rows(ETAS[1:] if config.smoke else ETAS)
    off = max(abs(r["simulated"] - r["theory"]) for r in response)
    print(f"\nFilter: gain of the link against Lemma 3.10, largest difference {off:.1e}")
    for chop_prob, eta in ((0.05, 0.25), (0.05, 0.005)):
        left = spt.theory.chopper_leakage(eta, chop_prob, chopper="periodic")
        print(
            f"  p = {chop_prob}, eta = {eta}: {float(left):.2g} of a chopped signal's power passes"
        )

    pulses = pulsed_table(key, config.seeds, 2 * config.cells, config.pulsed_steps)
    print("\nPulses and a real W array: mean ± std over seeds, in brackets one run of reference")
    print(tables.text(pulses))

    rows = shift + metric + response
    write(config.out, rows, manifest)
    return rows


def _floor(row: dict[str, Any]) -> dict[str, Any]:
    """One line about a floor; the exact value and the theorem's bound beside the simulation."""
    error = row["standard_error"]
    return {
        "scheme": row["series"],
        "dw_min": row["x"],
        "simulated": f"{row['simulated']:.4g}" + (f" ± {error:.1g}" if error else ""),
        "exact": f"{row['theory']:.4g}",
        "bound": f"{row['bound']:.4g}",
    }


def _metric_table(rows: list[dict[str, Any]], by_seed: dict, steps: list[int]) -> list[dict]:
    """One line per W array and algorithm: E_K at powers of ten, and slopes."""
    values = {(r["part"], r["series"], r["x"]): r["simulated"] for r in rows}
    known, table = reference_runs(), []
    for w_array in W_ARRAYS:
        for name in ALGORITHMS:
            line = {"W array": w_array, "algorithm": name}
            shown = [k for k in steps if k in (1000, 10_000, 100_000)]
            for k in shown:
                now = values[f"convergence, {w_array} W", name, k]
                line[f"K = {k}"] = f"{now:.4f} ({known[w_array, name, k]:.4f})"
            found, error = slope(steps, by_seed[w_array, name])
            printed = [known[w_array, name, k] for k in shown]
            line["slope"] = f"{found:.3f} ± {error:.3f}"
            line["reference"] = (
                f"{np.polyfit(np.log(shown), np.log(printed), 1)[0]:.3f}" if len(shown) > 1 else ""
            )
            table.append(line)
    return table


def write(folder: Path, rows: list[dict[str, Any]], manifest: dict[str, Any]) -> None:
    """theory.csv, theory.png and manifest.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tables.write_csv(rows, folder / "theory.csv")
    draw(rows, folder / "theory.png")
    spt.results.save_manifest(study.ended(manifest, rows), folder / "manifest.json")


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    config = tyro.cli(Config, args=arguments, prog="python -m experiments.theory")
    if config.smoke:
        config = dataclasses.replace(
            config, seeds=2, cells=20, zero_shift_cells=50, most_steps=STEPS[1], pulsed_steps=100
        )
    run(config)
    print(f"Results: {config.out}/theory.csv, .png, manifest.json", file=sys.stderr)


if __name__ == "__main__":
    main()
