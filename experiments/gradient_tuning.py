"""Hyper-parameters by gradient: E-RIDER tuned through its own training, and by random search.

    python -m experiments.gradient_tuning --help

E-RIDER trains a net on digits (`experiments.unrolled`). Tuned are the learning rate, transfer rate,
gamma, eta and the chopper's probability, within a factor of ten of where all begin:

  start           the middle of the ranges
  mean field      Adam on gradients of trainings with mean pulses: pathwise, and by the score
                  function for p
  schedule        the same for learning rate, eta and p at KNOTS knots over the run, so that the
                  number of pulses (which goes with the learning rate) is scheduled as well
  evolution       Adam on evolution strategies of trainings with sampled pulses
  random          the best of random candidates, of trainings with sampled pulses
  random x 4      the best of four times as many

The budget is counted in trainings: a gradient as GRADIENT_RUNS of them (forward, again for the
segments, and backward), an evolution pair as two. The mean loss over seeds is what a method
chooses by; what is reported are trainings with sampled pulses and seeds that no method has seen.
The whole is done `repeats` times with other seeds. Errors are standard errors over repeats.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import sptrack as spt
from experiments import distributed, study, tables, unrolled
from experiments.training import TrainConfig

GRADIENT_RUNS = 4
KNOTS = 4
SCHEDULED = ("learning_rate", "eta", "chop_prob")
RATE = 0.15  # of Adam, on logarithms
SIGMA = 0.2
METHODS = ("start", "mean field", "schedule", "evolution", "random", "random x 4")
FRESH = 100_000  # first seed of the trainings that are reported


@dataclasses.dataclass(frozen=True)
class Config:
    """Tunes E-RIDER; writes gradient_tuning.csv, .nc, .png and manifest.json.

    Attributes:
      steps: steps of Adam.
      seeds: trainings per gradient, and per random candidate.
      test_seeds: fresh trainings of what was chosen.
      repeats: how often everything is done.
      epochs: passes over the training set.
      out: folder for the results.
      overwrite: replace results of another configuration in that folder.
      resume: keep the parts that an earlier run has finished.
      distributed: share the parts out among the processes of a Slurm (or other) job.
      smoke: two steps of one repeat without a hidden layer, to see that everything works.
    """

    steps: int = 40
    seeds: int = 8
    test_seeds: int = 128
    repeats: int = 5
    epochs: int = 8
    out: Path = Path("runs/gradient_tuning")
    overwrite: bool = False
    resume: bool = False
    distributed: bool = False
    smoke: bool = False

    @property
    def train(self) -> TrainConfig:
        """How nets are trained."""
        return unrolled.train_config(self.epochs, smoke=self.smoke)

    @property
    def budget(self) -> int:
        """Trainings that a method may take."""
        return self.steps * self.seeds * GRADIENT_RUNS


def limits(name: str) -> tuple[float, float]:
    """Range of a logarithm; a probability or filter rate ends at 1."""
    middle, factor = unrolled.RATES[name]
    high = middle * factor
    return np.log(middle / factor), np.log(min(high, 1.0) if name in ("eta", "chop_prob") else high)


def clipped(numbers: dict[str, Any]) -> dict[str, Any]:
    """Logarithms inside their ranges."""
    return {name: jnp.clip(value, *limits(name)) for name, value in numbers.items()}


def keys_of(config: Config, repeat: int, index: Any) -> Any:
    """The trainings of one gradient: seeds that no other step or repeat has."""
    first = (repeat * 10_000 + index) * config.seeds
    root = spt.random.fast_key(2)
    return jax.vmap(jax.random.fold_in, (None, 0))(root, first + jnp.arange(config.seeds))


def descend(
    gradient: Callable[[Any, dict[str, Any]], Any], begin: dict[str, Any], steps: int
) -> dict[str, np.ndarray]:
    """Adam with a rate that falls to nothing; returns the way that the numbers went."""
    tx = optax.adam(optax.cosine_decay_schedule(RATE, steps))

    @jax.jit
    def path(begin):
        def step(carry, index):
            numbers, state = carry
            updates, state = tx.update(gradient(index, numbers), state, numbers)
            numbers = clipped(optax.apply_updates(numbers, updates))
            return (numbers, state), numbers

        return jax.lax.scan(step, (begin, tx.init(begin)), jnp.arange(steps))[1]

    return {name: np.asarray(values) for name, values in path(begin).items()}


def by_mean_field(config: Config, repeat: int, begin: dict[str, Any]) -> dict[str, np.ndarray]:
    """Pathwise gradients through mean pulses, and the score function of the chopper's flips."""
    fun = functools.partial(unrolled.run, method="mean", train=config.train)
    estimate = spt.estimators.score_function_grad(fun, config.seeds)
    root = spt.random.fast_key(3 + repeat)
    return descend(
        lambda index, numbers: estimate(jax.random.fold_in(root, index), numbers).grad,
        begin,
        config.steps,
    )


def by_evolution(config: Config, repeat: int) -> dict[str, np.ndarray]:
    """Evolution strategies on sampled pulses, with as many trainings."""
    estimate = spt.estimators.evolution_strategies_grad(
        functools.partial(unrolled.loss, method="aggregate", train=config.train),
        SIGMA,
        config.seeds * GRADIENT_RUNS // 2,
    )
    root = spt.random.fast_key(1000 + repeat)
    return descend(
        lambda index, numbers: estimate(jax.random.fold_in(root, index), numbers).grad,
        unrolled.start(),
        config.steps,
    )


def candidates(config: Config, repeat: int) -> dict[str, np.ndarray]:
    """Random points of the ranges, four times the budget's."""
    count = 4 * config.budget // config.seeds
    rng = np.random.default_rng(repeat)
    return {name: rng.uniform(*limits(name), count) for name in unrolled.RATES}


def by_random(config: Config, repeat: int) -> dict[str, np.ndarray]:
    """Mean loss of every candidate, all on sampled pulses."""
    points = candidates(config, repeat)
    count = len(points["eta"])
    at_once = max(1, unrolled.CHUNK // config.seeds)

    @jax.jit
    def score(numbers, index):
        keys = keys_of(config, repeat, index)
        losses = jax.vmap(
            lambda key: unrolled.loss(key, numbers, method="aggregate", train=config.train)
        )(keys)
        return losses.mean()

    scores = jax.jit(
        lambda points: jax.lax.map(
            lambda one: score(*one), (points, jnp.arange(count)), batch_size=at_once
        )
    )(jax.tree.map(jnp.asarray, points))
    return points | {"score": np.asarray(scores)}


def best_of(found: dict[str, np.ndarray], count: int) -> dict[str, Any]:
    """The best of the first candidates; one that diverged isn't."""
    scores = np.nan_to_num(found["score"][:count], nan=np.inf)
    index = int(np.argmin(scores))
    return {name: jnp.asarray(found[name][index]) for name in unrolled.RATES}


@functools.cache
def _tester(train: TrainConfig) -> Any:
    return jax.jit(
        jax.vmap(functools.partial(unrolled.loss, method="aggregate", train=train), (0, None))
    )


def tested(config: Config, numbers: dict[str, Any]) -> np.ndarray:
    """Losses of fresh trainings with sampled pulses, the same seeds for all methods."""
    run, numbers = _tester(config.train), {k: jnp.asarray(v, float) for k, v in numbers.items()}
    return np.concatenate(
        [run(keys, numbers) for keys in unrolled.batches(config.test_seeds, FRESH)]
    )


def once(config: Config, repeat: int) -> study.Records:
    """All methods once: the numbers that they choose, and losses of fresh trainings."""
    begin = unrolled.start()
    at_knots = begin | {name: jnp.full(KNOTS, begin[name]) for name in SCHEDULED}
    last = lambda path: {name: jnp.asarray(values[-1]) for name, values in path.items()}
    path = by_mean_field(config, repeat, begin)
    searched = by_random(config, repeat)
    budget = config.budget // config.seeds
    chosen = {
        "start": begin,
        "mean field": last(path),
        "schedule": last(by_mean_field(config, repeat, at_knots)),
        "evolution": last(by_evolution(config, repeat)),
        "random": best_of(searched, budget),
        "random x 4": best_of(searched, 4 * budget),
    }
    records = {f"test, {method}": tested(config, numbers) for method, numbers in chosen.items()}
    for method, numbers in chosen.items():
        records |= {f"{name}, {method}": np.asarray(v) for name, v in numbers.items()}
    return records | {f"path, {name}": values for name, values in path.items()}


def rows(finished: dict[str, study.Records], config: Config) -> list[dict[str, Any]]:
    """One row per repeat and method."""
    table = []
    for repeat, records in finished.items():
        for method in METHODS:
            trainings = {"start": 0, "random x 4": 4 * config.budget}.get(method, config.budget)
            losses = records[f"test, {method}"]
            row: dict[str, Any] = {"repeat": repeat, "method": method, "trainings": trainings}
            row["test_loss"] = float(losses.mean())
            row["seed_error"] = float(losses.std(ddof=1) / np.sqrt(len(losses)))
            for name in unrolled.RATES:
                values = np.exp(np.atleast_1d(records[f"{name}, {method}"]))
                row[name] = " ".join(f"{value:.3g}" for value in values)
            table.append(row)
    return table


def summary(table: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Mean loss of each method, its standard error over repeats, and that of its lead."""
    losses = {m: np.array([r["test_loss"] for r in table if r["method"] == m]) for m in METHODS}

    def text(values):
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        return f"{values.mean():.4f} ± {error:.4f}"

    return [
        {"method": m, "loss": text(values), "minus random x 4": text(values - losses["random x 4"])}
        for m, values in losses.items()
    ]


def draw(table: list[dict[str, Any]], path: Path) -> None:
    """Losses of fresh trainings by method, repeats as points; and the schedules."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for at, (method, color) in enumerate(zip(METHODS, tables.COLOURS, strict=False)):
        losses = np.array([r["test_loss"] for r in table if r["method"] == method])
        spread = losses.std(ddof=1) / np.sqrt(len(losses)) if len(losses) > 1 else 0
        left.plot(np.full(len(losses), at), losses, ".", color=color, alpha=0.5)
        left.errorbar(at + 0.15, losses.mean(), 2 * spread, fmt="o", color=color, capsize=3)
    left.set_xticks(range(len(METHODS)), METHODS, rotation=20, ha="right")
    left.set_ylabel("training loss, fresh seeds, sampled pulses (nat)")
    for name, color in zip(SCHEDULED, tables.COLOURS, strict=False):
        curves = [r[name].split() for r in table if r["method"] == "schedule"]
        values = np.array(curves, float)
        x = np.linspace(0, 1, values.shape[1])
        right.semilogy(x, values.T, color=color, alpha=0.3)
        right.semilogy(x, np.exp(np.log(values).mean(0)), "o-", color=color, label=name)
    right.set_xlabel("share of the run")
    right.set_ylabel("learned schedules")
    right.legend(edgecolor="none")
    for ax in (left, right):
        ax.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def labelled(finished: dict[str, study.Records]) -> Any:
    """Test losses and the way of the mean-field gradient, with names and units."""
    tests = np.stack([[r[f"test, {m}"] for m in METHODS] for r in finished.values()])
    paths = np.stack([[r[f"path, {n}"] for n in unrolled.RATES] for r in finished.values()])
    return spt.results.to_dataset(
        {
            "test_loss": (("repeat", "method", "seed"), tests, {"units": "nat"}),
            "log_rate": (("repeat", "rate", "step"), paths, {"units": "1"}),
        },
        coords={"method": list(METHODS), "rate": list(unrolled.RATES)},
    )


def run(config: Config) -> list[dict[str, Any]]:
    """Does all repeats; each one is kept as it finishes."""
    if (
        min(config.steps, config.seeds, config.test_seeds) < 2
        or min(config.repeats, config.epochs) < 1
    ):
        raise SystemExit(
            "--steps, --seeds and --test-seeds must be at least 2, --repeats and --epochs 1."
        )
    settings = {"train": config.train, "rates": unrolled.RATES, "cells": unrolled.CELLS}
    settings |= {
        "rate": RATE,
        "sigma": SIGMA,
        "knots": KNOTS,
        "scheduled": SCHEDULED,
        "gradient_runs": GRADIENT_RUNS,
    }

    def publish(finished):
        table = rows(finished, config)
        study.write(config.out, "gradient_tuning", table, labelled(finished), draw)

    finished = study.collect(
        config.out,
        {f"repeat_{n}": functools.partial(once, config, n) for n in range(config.repeats)},
        spt.results.manifest({"config": dataclasses.asdict(config), **settings}, seed=0),
        publish,
        resume=config.resume,
        overwrite=config.overwrite,
    )
    return rows(finished, config)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    config = tyro.cli(Config, args=arguments, prog="python -m experiments.gradient_tuning")
    if config.smoke:
        few = {"steps": 2, "seeds": 2, "test_seeds": 2, "repeats": 1, "epochs": 2}
        config = dataclasses.replace(config, **few)
    distributed.start(config.distributed)
    table = run(config)
    print(tables.text(summary(table)))
    print(f"Results: {config.out}/gradient_tuning.csv, .nc, .png", file=sys.stderr)


if __name__ == "__main__":
    main()
