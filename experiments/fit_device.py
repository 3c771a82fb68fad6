"""Identify a device from pulse traces in a CSV file.

    python -m experiments.fit_device data.csv --family soft_bounds --out DIR

The file has the columns cell, pulse, direction and weight (`sptrack.fit.traces` has the format;
reads may be missing). The fit is `spt.fit`'s: cells, spread over cells, cycle noise and noise of
reads by maximum likelihood, with standard errors. With --compare all families are fitted, with both
kinds of cycle noise, and the best by Akaike's criterion is written. The test of the residuals says
whether even that one is wrong. The spec found trains:

    found = json.load(open("DIR/fit.json"))["spec"]
    spec = getattr(spt, found["class"])(**found["fields"])
"""

import dataclasses
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sptrack as spt
from experiments import study, tables

FAMILIES = ("constant_step", "linear_step", "soft_bounds", "soft_bounds_reference", "pow_step")
DOUBTFUL = 0.01  # below this probability of the residuals the family is called wrong
_BAND = (0.05, 0.95)
_SHOWN = 6  # cells in the figure


@dataclasses.dataclass(frozen=True)
class Config:
    """Fit a family of cells to traces; writes fit.csv, fit.json, fit.png and manifest.json.

    Attributes:
      data: CSV file with the columns cell, pulse, direction, weight.
      family: constant_step, linear_step, soft_bounds, soft_bounds_reference or pow_step.
      compare: fit all families and keep the best; also writes comparison.csv.
      mult_noise: cycle noise scales with the step at the present weight.
      log_normal: steps are log-normal over cells.
      read_noise_std: the part of the noise of reads that is the instrument's, in the weights' unit.
      draws: simulated traces per cell, for the figure.
      out: folder for the results.
      overwrite: replace results of another configuration in that folder.
      smoke: fit simulated traces of four cells, to see that everything works.
    """

    data: Path | None = None
    family: str = "soft_bounds"
    compare: bool = False
    mult_noise: bool = False
    log_normal: bool = False
    read_noise_std: float = 0.0
    draws: int = 100
    out: Path = Path("runs/fit_device")
    overwrite: bool = False
    smoke: bool = False


def simulated() -> spt.Traces:
    """What --smoke fits: four soft-bounds cells, bursts of 25 pulses."""
    sample, pulse = jax.random.split(jax.random.key(0))
    spec = spt.SoftBounds(dw_min=0.05, mult_noise=False)
    device = spt.sample_device(sample, spec, (4,))
    directions = np.where(np.arange(100) % 50 < 25, 1, -1)
    return spt.simulate_traces(pulse, device, jnp.zeros(4), directions, read_noise_std=0.02)


def fits(traces: spt.Traces, config: Config) -> list[spt.FitResult]:
    """The fit that was asked for, or those of all families, best first."""
    options = {"log_normal": config.log_normal, "read_noise_std": config.read_noise_std}
    if config.compare:
        return spt.compare_fits(traces, FAMILIES, **options)
    return [spt.fit(traces, config.family, mult_noise=config.mult_noise, **options)]


def comparison(found: list[spt.FitResult]) -> list[dict[str, Any]]:
    """One row per fit."""
    return [
        {
            "family": one.family,
            "cycle noise": "relative" if one.mult_noise else "additive",
            "aic - best": one.aic - found[0].aic,
            "bic": one.bic,
            "log likelihood": one.log_likelihood,
            "residuals p": one.misfit.p_value,
            "departure": one.misfit.departure,
            "verdict": verdict(one),
        }
        for one in found
    ]


def verdict(found: spt.FitResult) -> str:
    """What the test of the residuals says."""
    if not found.converged:
        return "not converged"
    return "wrong family" if found.misfit.p_value < DOUBTFUL else "not refuted"


def estimates(found: spt.FitResult, traces: spt.Traces) -> list[dict[str, Any]]:
    """One row per number: noise and fields of the spec, then every cell's parameters."""
    rows = [
        {"what": what, "cell": "", "parameter": name, **_numbers(one, ())}
        for what, group in (("noise", found.noise), ("spec", found.population))
        for name, one in group.items()
    ]
    rows += [
        {"what": "cell", "cell": cell, "parameter": name, **_numbers(one, index)}
        for index, cell in enumerate(traces.cells)
        for name, one in found.cells.items()
    ]
    return rows


def _numbers(estimate: Any, index: Any) -> dict[str, float]:
    return {name: float(np.asarray(part)[index]) for name, part in estimate._asdict().items()}


def summary(found: spt.FitResult, traces: spt.Traces) -> dict[str, Any]:
    """What fit.json holds."""
    spec = {f.name: getattr(found.spec, f.name) for f in dataclasses.fields(found.spec)}
    return {
        "spec": {"class": type(found.spec).__name__, "fields": spec},
        "family": found.family,
        "cycle_noise": "relative" if found.mult_noise else "additive",
        "cells": len(traces.cells),
        "reads": found.num_reads,
        "log_likelihood": found.log_likelihood,
        "aic": found.aic,
        "bic": found.bic,
        "residuals": found.misfit._asdict(),
        "converged": found.converged,
        "verdict": verdict(found),
    }


def draw(found: spt.FitResult, traces: spt.Traces, draws: np.ndarray, path: Path) -> None:
    """Reads of the first cells over the band in which the fit expects nine of ten."""
    import matplotlib.pyplot as plt

    low, high = np.quantile(draws, _BAND, axis=0)
    weights = np.asarray(traces.weights, float)
    seen = np.isfinite(weights)
    share = np.mean(((low <= weights) & (weights <= high))[seen])
    shown = min(_SHOWN, len(traces.cells))
    figure, axes = plt.subplots(
        (shown + 2) // 3, min(shown, 3), figsize=(11, 3 * ((shown + 2) // 3)), squeeze=False,
        sharex=True, layout="constrained",
    )  # fmt: skip
    pulses = np.arange(len(weights))
    for index, ax in enumerate(axes.flat):
        if index >= shown:
            ax.set_axis_off()
            continue
        ax.fill_between(pulses, low[:, index], high[:, index], color="#56B4E9", alpha=0.5, lw=0)
        ax.plot(pulses, weights[:, index], ".", ms=3, color="black")
        ax.set_title(f"cell {traces.cells[index]}", fontsize=10)
    figure.supxlabel("pulses")
    figure.supylabel("read (unit of the file)")
    figure.suptitle(
        f"{found.family}: {share:.0%} of all reads in the 90 % band of {len(draws)} draws; "
        f"residuals: p = {found.misfit.p_value:.2g}, {verdict(found)}"
    )
    figure.savefig(path, dpi=120)
    plt.close(figure)


def run(config: Config) -> tuple[list[spt.FitResult], spt.Traces]:
    """Fits and writes; returns the fits, best first, and the traces."""
    traces = _traces(config)
    facts = {"config": dataclasses.asdict(config)}
    if config.data is not None:
        facts["data_sha256"] = hashlib.sha256(config.data.read_bytes()).hexdigest()
    manifest = spt.results.manifest(facts, seed=0)
    study.check_folder(config.out, manifest, overwrite=config.overwrite, resume=False)
    try:
        found = fits(traces, config)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    best, folder = found[0], config.out
    folder.mkdir(parents=True, exist_ok=True)
    tables.write_csv(estimates(best, traces), folder / "fit.csv")
    if config.compare:
        tables.write_csv(comparison(found), folder / "comparison.csv")
    about = summary(best, traces)
    (folder / "fit.json").write_text(json.dumps(about, indent=2) + "\n")
    draws = spt.posterior_predictive(jax.random.key(0), best, traces, num_draws=config.draws)
    draw(best, traces, draws, folder / "fit.png")
    ended = study.ended(manifest, {"fit": about, "estimates": estimates(best, traces)})
    spt.results.save_manifest(ended, folder / "manifest.json")
    return found, traces


def _traces(config: Config) -> spt.Traces:
    """The traces of the file; refuses flags that make no sense."""
    if config.family not in FAMILIES:
        raise SystemExit(f"--family must be one of {', '.join(FAMILIES)}, got {config.family!r}.")
    if config.draws < 20:
        raise SystemExit(f"--draws must be at least 20 for a band of 90 %, got {config.draws}.")
    if config.data is None:
        if config.smoke:
            return simulated()
        raise SystemExit("Name a file: python -m experiments.fit_device data.csv, or give --smoke.")
    try:
        return spt.read_traces(config.data)
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from None


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and not words[0].startswith("-"):
        words = ["--data", *words]
    config = tyro.cli(Config, args=words, prog="python -m experiments.fit_device")
    found, traces = run(config)
    if config.compare:
        print(tables.text(comparison(found)), end="\n\n")
    rows = [row for row in estimates(found[0], traces) if row["what"] != "cell"]
    print(tables.text([{k: v for k, v in row.items() if k != "cell"} for row in rows]))
    print(
        f"\n{found[0].family}: residuals p = {found[0].misfit.p_value:.2g}, {verdict(found[0])}. "
        f"The spec is in {config.out}/fit.json, all cells in fit.csv, the figure in fit.png."
    )


if __name__ == "__main__":
    main()
