"""How far a fit can be trusted: synthetic devices with known parameters, fitted again and again.

    python -m experiments.fit_coverage --help

Each repeat draws a device, pulses its cells in bursts, reads them with noise and fits the family
that they come from. Counted are: true parameters of cells and of the distribution over cells inside
their 95 % intervals, errors of the noise, and right families that the test of the residuals refuses
(at 1 %). Then cells of other families are fitted by it, and what it refuses is counted.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sptrack as spt
from experiments import study, tables
from experiments.fit_device import DOUBTFUL
from sptrack.fit.driver import fit_alike

FAMILY = "soft_bounds"
READ_NOISE = 0.02
_CELLS: dict[str, Any] = {
    "dw_min": 0.02, "dw_min_dtod": 0.2, "dw_min_std": 0.5, "up_down": 0.2, "up_down_dtod": 0.05,
    "w_max": 1.0, "w_min": -1.0, "w_max_dtod": 0.1, "w_min_dtod": 0.1, "mult_noise": False,
}  # fmt: skip
RIGHT = spt.SoftBounds(**_CELLS)
WRONG: dict[str, Any] = {
    "constant_step": spt.ConstantStep(**_CELLS | {"w_max": 0.4, "w_min": -0.4}),
    "pow_step_2": spt.PowStep(**_CELLS | {"dw_min": 0.06}, pow_gamma=2.0),
    "exponential": spt.ExponentialResponse(dw_min=0.02, gamma_res=2.0, tau=0.7, dw_min_std=0.5),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Fit synthetic devices; writes fit_coverage.csv and manifest.json.

    Attributes:
      repeats: devices of the right family.
      wrong_repeats: devices of each wrong family.
      cells: of a device.
      pulses: on each cell, in bursts of 50.
      batch: devices that are fitted at once.
      out: folder for the results.
      overwrite: replace results of another configuration in that folder.
      resume: keep the batches that an earlier run has finished.
      smoke: two small devices, to see that everything works.
    """

    repeats: int = 100
    wrong_repeats: int = 20
    cells: int = 20
    pulses: int = 400
    batch: int = 10
    out: Path = Path("runs/fit_coverage")
    overwrite: bool = False
    resume: bool = False
    smoke: bool = False


def measured(spec: Any, seed: int, config: Config) -> tuple[Any, spt.Traces]:
    """A device and its traces."""
    sample, pulse = jax.random.split(jax.random.fold_in(jax.random.key(0), seed))
    device = spt.sample_device(sample, spec, (config.cells,))
    bursts = np.where(np.arange(config.pulses) % 100 < 50, 1, -1)
    start = jnp.zeros(config.cells)
    return device, spt.simulate_traces(pulse, device, start, bursts, read_noise_std=READ_NOISE)


def truth_of(device: Any) -> dict[str, np.ndarray]:
    """Parameters of soft-bounds cells by name."""
    steps = {"step_up": device.up, "step_down": device.down}
    steps = {name: np.asarray(step * device.dw_min, float) for name, step in steps.items()}
    return steps | {"w_max": np.asarray(device.high), "w_min": np.asarray(device.low)}


def batch(seeds: list[int], config: Config) -> study.Records:
    """What came out for devices of the right family; the leading axis is the device."""
    made = [measured(RIGHT, seed, config) for seed in seeds]
    found = fit_alike([traces for _, traces in made], FAMILY)
    records = _tested(found)
    for name in truth_of(made[0][0]):
        truth = np.stack([truth_of(device)[name] for device, _ in made])
        at = [one.cells[name] for one in found]
        value, error, low, high = (np.stack([one[k] for one in at]) for k in range(4))
        records[f"cell {name}"] = (low < truth) & (truth < high)
        records[f"errors {name}"] = (value - truth) / error
    for name in found[0].population:
        at = [one.population[name] for one in found]
        truth = getattr(RIGHT, name)
        records[f"spec {name}"] = np.array([[one.low <= truth <= one.high] for one in at])
    for name, truth in (("dw_min_std", RIGHT.dw_min_std), ("read_noise_std", READ_NOISE)):
        at = [one.noise[name] for one in found]
        records[f"noise {name}"] = np.array([[one.low < truth < one.high] for one in at])
        records[f"relative {name}"] = np.array([[float(one.value) / truth - 1] for one in at])
    return records


def _tested(found: list[spt.FitResult]) -> study.Records:
    return {
        "p": np.array([[one.misfit.p_value] for one in found]),
        "converged": np.array([[one.converged] for one in found]),
    }


def wrong_batch(name: str, config: Config) -> study.Records:
    """What the test says of devices of a wrong family."""
    seeds = range(config.wrong_repeats)
    traces = [measured(WRONG[name], 100_000 + seed, config)[1] for seed in seeds]
    return _tested(fit_alike(traces, FAMILY))


def rows(finished: dict[str, study.Records]) -> list[dict[str, Any]]:
    """One row per quantity: how often inside, and what else there is to say."""
    right = [part for name, part in finished.items() if name.startswith("right")]
    if not right:
        return []
    joined = {name: np.concatenate([part[name] for part in right]) for name in right[0]}
    table = []
    for name in joined:
        kind, _, quantity = name.partition(" ")
        if kind not in ("cell", "spec", "noise"):
            continue
        more = {}
        if kind == "cell":
            more["std_of_errors"] = float(joined[f"errors {quantity}"].std())
        if kind == "noise":
            more["worst_error"] = float(abs(joined[f"relative {quantity}"]).max())
        table.append(_share(f"{kind}: {quantity} inside its 95 % interval", joined[name]) | more)
    for kind in ("cell", "spec"):
        inside = [part.ravel() for name, part in joined.items() if name.startswith(f"{kind} ")]
        table.append(_share(f"{kind}: all parameters", np.concatenate(inside)))
    for name in ("dw_min_std", "read_noise_std"):
        within = abs(joined[f"relative {name}"]) < 0.1
        table.append(_share(f"noise: {name} within 10 %", within))
    table.append(_share("fits that converged", joined["converged"]))
    table.append(_share("right family refused (expected 0.01)", joined["p"] < DOUBTFUL))
    for name in WRONG:
        if name in finished:
            table.append(_share(f"{name} refused", finished[name]["p"] < DOUBTFUL))
    return [
        row | {name: row.get(name) for name in ("std_of_errors", "worst_error")} for row in table
    ]


def _share(what: str, happened: np.ndarray) -> dict[str, Any]:
    """A share with its standard error, which takes devices for independent and cells not."""
    by_device = happened.mean(axis=tuple(range(1, happened.ndim)))
    error = by_device.std(ddof=1) / np.sqrt(len(by_device)) if len(by_device) > 1 else float("nan")
    return {
        "what": what,
        "share": float(happened.mean()),
        "std_error": float(error),
        "of": int(happened.size),
    }


def run(config: Config) -> list[dict[str, Any]]:
    """Does all batches; each one is kept as it finishes."""
    if config.smoke:
        config = dataclasses.replace(
            config, repeats=2, wrong_repeats=1, cells=4, pulses=100, batch=1
        )
    if min(config.repeats, config.wrong_repeats, config.cells, config.pulses, config.batch) < 1:
        raise SystemExit("--repeats, --wrong-repeats, --cells, --pulses and --batch must be >= 1.")
    seeds = list(range(config.repeats))
    parts = {
        f"right_{first}": lambda first=first: batch(seeds[first : first + config.batch], config)
        for first in range(0, config.repeats, config.batch)
    }
    parts |= {name: lambda name=name: wrong_batch(name, config) for name in WRONG}
    finished = study.collect(
        config.out,
        parts,
        spt.results.manifest({"config": dataclasses.asdict(config)}, seed=0),
        lambda records: tables.write_csv(rows(records), config.out / "fit_coverage.csv"),
        resume=config.resume,
        overwrite=config.overwrite,
    )
    return rows(finished)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    config = tyro.cli(Config, args=arguments, prog="python -m experiments.fit_coverage")
    print(tables.text(run(config)))
    print(f"Results: {config.out}/fit_coverage.csv", file=sys.stderr)


if __name__ == "__main__":
    main()
