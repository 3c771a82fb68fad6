"""What the loss after training is sensitive to: gradients through training, four ways.

    python -m experiments.sensitivity --help

E-RIDER trains a net on digits (`experiments.unrolled`); the result is the mean training loss of the
last epoch. Its derivatives with respect to logarithms of rates and to parameters of the cells are

  mean_field     d/d(...) of training with mean pulses, pathwise through all steps; the chopper's
                 probability, whose flips have no derivative, by the score function
  mean_central   differences of the same runs, with the same keys: what mean_field must be
  evolution      evolution strategies on trainings with sampled pulses: all parameters at once
  pulses_central differences of trainings with sampled pulses, parameter by parameter: the truth

In a row of its own the chopper's probability is that of a relaxed chopper, pathwise: the mean field
only. The size of a pulse has no effect in the mean field, by construction. Standard errors are over
seeds. The difference steps are STEP for the mean field and SIGMA for pulses.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sptrack as spt
from experiments import distributed, study, tables, unrolled
from experiments.training import TrainConfig

STEP, SIGMA = 0.02, 0.2
OF_CELLS = ("center_mean", "center_std", "dw_min_std")
WAYS = ("mean_field", "mean_central", "evolution", "pulses_central")
RELAXED = "relaxed chop_prob"  # in a part of its own


@dataclasses.dataclass(frozen=True)
class Config:
    """Sensitivities of training; writes sensitivity.csv, .nc, .png and manifest.json.

    Attributes:
      seeds: trainings of each mean-field derivative.
      pulse_seeds: pairs of trainings with sampled pulses, for each of their derivatives.
      epochs: passes over the training set.
      out: folder for the results.
      overwrite: replace results of another configuration in that folder.
      resume: keep the parts that an earlier run has finished.
      distributed: share the parts out among the processes of a Slurm (or other) job.
      smoke: two seeds and epochs without a hidden layer, to see that everything works.
    """

    seeds: int = 128
    pulse_seeds: int = 512
    epochs: int = 8
    out: Path = Path("runs/sensitivity")
    overwrite: bool = False
    resume: bool = False
    distributed: bool = False
    smoke: bool = False

    @property
    def train(self) -> TrainConfig:
        """How nets are trained."""
        return unrolled.train_config(self.epochs, smoke=self.smoke)


def parameters() -> dict[str, Any]:
    """All that derivatives are taken of: logarithms of rates, and fields of the cells."""
    fields = {f"cells.{name}": jnp.asarray(unrolled.CELLS[name]) for name in OF_CELLS}
    return unrolled.start() | fields | {"cells.dw_min": jnp.log(unrolled.CELLS["dw_min"])}


def trained(key: Any, at: dict[str, Any], method: str, train: TrainConfig) -> Any:
    """(loss, log-probability) of `unrolled.run`, with the logarithm of a pulse's size."""
    numbers = at | {"cells.dw_min": jnp.exp(at["cells.dw_min"])}
    return unrolled.run(key, numbers, method=method, train=train)


def mean_field(config: Config) -> study.Records:
    """Pathwise derivatives, and the score function of the chopper."""
    at = parameters()

    def fun(key, numbers):
        return trained(key, numbers, "mean", config.train)

    @jax.jit
    def gradients(keys):
        copies = jax.tree.map(lambda x: jnp.broadcast_to(x, keys.shape), at)
        (values, scores), pull = jax.vjp(lambda each: jax.vmap(fun)(keys, each), copies)
        ones, zeros = jnp.ones_like(values), jnp.zeros_like(values)
        return values, pull((ones, zeros))[0], pull((zeros, jnp.ones_like(scores)))[0]

    parts = [gradients(keys) for keys in unrolled.batches(config.seeds)]
    values, path, score = (
        jax.tree.map(lambda *x: np.concatenate(x), *p) for p in zip(*parts, strict=True)
    )
    others = (values.sum() - values) / (len(values) - 1)  # the baseline
    found = path | {"chop_prob": path["chop_prob"] + (values - others) * score["chop_prob"]}
    return {"loss": values, **found}


def central(config: Config, method: str, count: int, step: float) -> study.Records:
    """Central differences with common random numbers, parameter by parameter."""
    at = parameters()
    run = jax.jit(
        jax.vmap(lambda key, numbers: trained(key, numbers, method, config.train)[0], (0, None))
    )
    found: dict[str, list[Any]] = {name: [] for name in at}
    for name, value in at.items():
        for keys in unrolled.batches(count):
            above, below = (
                run(jax.random.clone(keys), at | {name: value + way * step}) for way in (1, -1)
            )
            found[name].append((above - below) / (2 * step))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def relaxed(config: Config) -> study.Records:
    """The pathwise derivative in the probability of a relaxed chopper.

    No differences beside it: STEP moves the last flips by several steps of training, and the loss
    is smooth over less than one. `tests/transforms/test_flip_clock.py` has them, by steps of 1e-6.
    """
    at = unrolled.start()

    def loss(log_p, key):
        numbers = at | {"chop_prob": log_p}
        how = {"method": "mean", "train": config.train, "chopper": "relaxed_scalar"}
        return unrolled.run(key, numbers, **how)[0]

    slopes = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))
    parts = [slopes(at["chop_prob"], keys) for keys in unrolled.batches(config.seeds)]
    return {RELAXED: np.concatenate(parts)}


def evolution(config: Config) -> study.Records:
    """One evolution-strategies estimate of all derivatives at once."""
    estimate = spt.estimators.evolution_strategies_grad(
        lambda key, numbers: trained(key, numbers, "aggregate", config.train)[0],
        SIGMA,
        config.pulse_seeds,
        batch_size=min(unrolled.CHUNK, config.pulse_seeds),
    )
    found = jax.jit(estimate)(spt.random.fast_key(1), parameters())
    both = {name: np.array([found.grad[name], found.std_error[name]]) for name in found.grad}
    return jax.tree.map(np.asarray, both)


def rows(finished: dict[str, study.Records]) -> list[dict[str, Any]]:
    """One row per parameter, two columns per way; empty where a way isn't finished."""
    table = []
    for name in (*parameters(), RELAXED):
        row: dict[str, Any] = {"parameter": label(name)}
        for way in WAYS:
            mean, error = None, None
            part = "relaxed" if (name, way) == (RELAXED, "mean_field") else way
            if name in finished.get(part, {}):
                values = finished[part][name]
                if way == "evolution":
                    mean, error = map(float, values)
                else:
                    mean = float(values.mean())
                    error = float(values.std(ddof=1) / np.sqrt(len(values)))
            row |= {way: mean, f"{way}_error": error}
        table.append(row)
    return table


def label(name: str) -> str:
    """What the derivative is with respect to."""
    logarithm = name in (*unrolled.RATES, "cells.dw_min", RELAXED)
    return f"log {name}" if logarithm else name


def draw(table: list[dict[str, Any]], path: Path) -> None:
    """The derivatives side by side, with two standard errors."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(9, 4.5), layout="constrained")
    at = np.arange(len(table))
    for number, (way, color) in enumerate(zip(WAYS, tables.COLOURS, strict=False)):
        if table[0][way] is None:
            continue
        values, errors = (
            np.array([row[f"{way}{end}"] for row in table], float) for end in ("", "_error")
        )
        ax.errorbar(at + 0.18 * (number - 1.5), values, 2 * errors, fmt="osD^"[number],
                    color=color, capsize=3, label=way.replace("_", " "))  # fmt: skip
    ax.axhline(0, color="grey", lw=0.8)
    ax.set_xticks(at, [row["parameter"] for row in table], rotation=25, ha="right")
    ax.set_ylabel("derivative of the final training loss (nat)")
    ax.legend(edgecolor="none")
    ax.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def labelled(table: list[dict[str, Any]]) -> Any:
    """The table with names and units."""

    def columns(end):
        return np.array([[row[f"{way}{end}"] for way in WAYS] for row in table], float)

    ends = {"derivative": "", "std_error": "_error"}
    return spt.results.to_dataset(
        {
            name: (("parameter", "way"), columns(end), {"units": "nat"})
            for name, end in ends.items()
        },
        coords={"parameter": [row["parameter"] for row in table], "way": list(WAYS)},
    )


def run(config: Config) -> list[dict[str, Any]]:
    """Takes all derivatives; each way is kept as it finishes."""
    if min(config.seeds, config.pulse_seeds, config.epochs) < 2:
        raise SystemExit("--seeds, --pulse-seeds and --epochs must be at least 2 each.")
    makers = {
        "mean_field": lambda: mean_field(config),
        "mean_central": lambda: central(config, "mean", config.seeds, STEP),
        "relaxed": lambda: relaxed(config),
        "evolution": lambda: evolution(config),
        "pulses_central": lambda: central(config, "aggregate", config.pulse_seeds, SIGMA),
    }
    settings = {"train": config.train, "rates": unrolled.RATES, "cells": unrolled.CELLS}
    settings |= {"steps": [STEP, SIGMA]}

    def publish(finished):
        table = rows(finished)
        study.write(config.out, "sensitivity", table, labelled(table), draw)

    return rows(
        study.collect(
            config.out,
            makers,
            spt.results.manifest({"config": dataclasses.asdict(config), **settings}, seed=0),
            publish,
            resume=config.resume,
            overwrite=config.overwrite,
        )
    )


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    config = tyro.cli(Config, args=arguments, prog="python -m experiments.sensitivity")
    if config.smoke:
        config = dataclasses.replace(config, seeds=2, pulse_seeds=2, epochs=2)
    distributed.start(config.distributed)
    table = run(config)
    print(tables.text([{k: tables.cell(v, ".3f") for k, v in row.items()} for row in table]))
    print(f"Results: {config.out}/sensitivity.csv, .nc, .png", file=sys.stderr)


if __name__ == "__main__":
    main()
