"""Bias and spread of gradient estimators through pulse trains, against the exact gradient.

    python -m experiments.estimators --help

Two cells on one output line get the coincidences of one sample; their loss curves, and couples
them. E[L] is a finite sum: of BL slots the output line fires in k, and each cell's coincidences are
then binomial out of k. So the exact gradient in x is known for any BL, and each estimator's mean
over `samples` is compared with it.
"""

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import sptrack as spt
from experiments import study, tables

DW_MIN, RATE, SIGMA = 0.02, 0.02, 0.05
W, TARGET = np.array([[0.1], [-0.3]]), np.array([[0.6], [0.2]])
X, D = np.array([0.9, -0.5]), np.array([-0.7])
ESTIMATORS = ("mean field", "straight through", "score, no baseline", "score", "evolution")


class Cells(NamedTuple):
    """A linear response without noise."""

    dw_min: float = DW_MIN

    def response(self, w: Any) -> tuple[Any, Any]:
        """(q_up, q_down)."""
        return 1 - w / 2, 1 + w / 2


@dataclasses.dataclass(frozen=True)
class Config:
    """Compares estimators; writes estimators.csv, .png and manifest.json.

    Attributes:
      lengths: numbers of slots BL.
      samples: samples of every estimator.
      out: folder for the results.
      overwrite: replace results of another configuration in that folder.
      resume: keep the parts that an earlier run has finished.
      smoke: few samples, to see that everything works.
    """

    lengths: tuple[int, ...] = (1, 2, 4, 8, 16, 31)
    samples: int = 100_000
    out: Path = Path("runs/estimators")
    overwrite: bool = False
    resume: bool = False
    smoke: bool = False


def loss(w: Any) -> Any:
    """Curved in both cells, which it couples; w of shape (2, 1)."""
    return jnp.sum((w - TARGET) ** 4 + jnp.sin(3 * w)) + 2 * w[0, 0] * w[1, 0]


def train_of(length: int) -> spt.PulseTrain:
    """Trains of fixed length; p_x = |x| sqrt(rate / (dw_min BL)), clipped at 1."""
    return spt.PulseTrain(desired_bl=length, update_management=False, update_bl_management=False)


def exact(length: int) -> np.ndarray:
    """d E[L] / dx by central differences of the finite sum, in float64."""

    def levels(w, rises):
        """Weights after 0, 1, ... pulses."""
        found = [w]
        for _ in range(length):
            w = w + DW_MIN * (1 - w / 2 if rises else -1 - w / 2)
            found.append(w)
        return np.array(found)

    w1, w2 = (levels(W[i, 0], X[i] * D[0] < 0) for i in (0, 1))
    w = np.stack(np.meshgrid(w1, w2, indexing="ij"))
    deviation = (w - TARGET.reshape(2, 1, 1)) ** 4 + np.sin(3 * w)
    losses = deviation.sum(0) + 2 * w[0] * w[1]

    def binomial(n, p):
        law = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
        return np.pad(law, (0, length - n))

    def expected(x):
        root = math.sqrt(RATE / (DW_MIN * length))
        p = np.minimum(np.abs(x) * root, 1)
        fired = binomial(length, min(abs(D[0]) * root, 1))
        return sum(
            chance * binomial(k, p[0]) @ losses @ binomial(k, p[1])
            for k, chance in enumerate(fired)
        )

    steps = 1e-6 * np.eye(2)
    return np.array([(expected(X + s) - expected(X - s)) / 2e-6 for s in steps])


def estimates(config: Config, length: int) -> study.Records:
    """Mean and standard deviation of one sample of every estimator, and the exact gradient."""
    train, cells, w, d = train_of(length), Cells(), jnp.asarray(W), jnp.asarray(D)

    def updated(key, x, **options):
        return loss(spt.coincidence_update(key, cells, w, x, d, RATE, train=train, **options))

    def scored(key, x):
        draw_key, pulse_key = jax.random.split(key)
        lines = spt.pulses.plan_lines(train, RATE, DW_MIN, x, d)
        draw = spt.pulses.draw_coincidences(draw_key, train, lines)
        return loss(spt.apply_pulses(pulse_key, cells, w, draw.counts)), draw.log_prob

    def straight(key, x):
        return updated(key, x, gradient="straight_through"), jnp.zeros(())

    def of(name):
        n, score = config.samples, spt.estimators.score_function_grad
        return {
            "mean field": score(lambda k, x: (updated(k, x, method="mean"), jnp.zeros(())), 2),
            "straight through": score(straight, n),
            "score, no baseline": score(scored, n, baseline="none"),
            "score": score(scored, n),
            "evolution": spt.estimators.evolution_strategies_grad(updated, SIGMA, n // 2),
        }[name]

    records = {"exact": exact(length)}
    for number, name in enumerate(ESTIMATORS):
        key = jax.random.fold_in(jax.random.fold_in(spt.random.fast_key(0), length), number)
        found = jax.jit(of(name))(key, jnp.asarray(X))
        records[name] = np.stack([found.grad, found.std_error])
    return records


def rows(finished: dict[str, study.Records], config: Config) -> list[dict[str, Any]]:
    """One row per length and estimator, relative to the length of the exact gradient."""
    table = []
    for part, records in finished.items():
        scale = np.linalg.norm(records["exact"])
        for name in ESTIMATORS:
            mean, error = records[name]
            trainings = {"mean field": 2, "evolution": config.samples // 2}.get(
                name, config.samples
            )
            spread = np.linalg.norm(error) * math.sqrt(trainings) / scale
            row = {
                "BL": int(part.removeprefix("length_")),
                "estimator": name,
                "bias": float(np.linalg.norm(mean - records["exact"]) / scale),
                "bias_error": float(np.linalg.norm(error) / scale),
                "std_of_one": float(spread),
                "samples_for_5_percent": math.ceil((spread / 0.05) ** 2) if spread > 1e-6 else 1,
            }
            table.append(row)
    return table


def draw(table: list[dict[str, Any]], path: Path) -> None:
    """Bias and spread against BL."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name, color, marker in zip(ESTIMATORS, tables.COLOURS, "osD^v", strict=False):
        at = [row for row in table if row["estimator"] == name]
        x = [row["BL"] for row in at]
        axes[0].errorbar(x, [r["bias"] for r in at], [2 * r["bias_error"] for r in at],
                         marker=marker, color=color, capsize=3, label=name)  # fmt: skip
        if at[0]["std_of_one"] > 1e-6:
            axes[1].loglog(x, [r["std_of_one"] for r in at], marker=marker, color=color, label=name)
    axes[0].set_xscale("log")
    axes[0].set_ylim(-0.1, 0.2)  # without a baseline nothing is known at this scale
    axes[0].set_ylabel("|mean − exact| / |exact| (2 standard errors)")
    axes[1].set_ylabel("standard deviation of one sample / |exact|")
    for ax in axes:
        ax.set_xlabel("slots of the train, BL")
        ax.grid(alpha=0.3)
        ax.legend(edgecolor="none", fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def run(config: Config) -> list[dict[str, Any]]:
    """Does all lengths; each one is kept as it finishes."""
    if min(config.lengths, default=0) < 1 or config.samples < 4:
        raise SystemExit("--lengths must be at least 1 each, --samples 4.")

    def publish(finished):
        table = rows(finished, config)
        tables.write_csv(table, config.out / "estimators.csv")
        draw(table, config.out / "estimators.png")

    finished = study.collect(
        config.out,
        {f"length_{n}": lambda n=n: estimates(config, n) for n in config.lengths},
        spt.results.manifest({"config": dataclasses.asdict(config)}, seed=0),
        publish,
        resume=config.resume,
        overwrite=config.overwrite,
    )
    return rows(finished, config)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    config = tyro.cli(Config, args=arguments, prog="python -m experiments.estimators")
    if config.smoke:
        config = dataclasses.replace(config, lengths=(1, 2), samples=100)
    table = run(config)
    print(tables.text([
        {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in row.items()} for row in table
    ]))  # fmt: skip
    print(f"Results: {config.out}/estimators.csv, .png", file=sys.stderr)


if __name__ == "__main__":
    main()
