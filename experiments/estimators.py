"""Bias and spread of gradient estimators through pulses and choppers, against exact gradients.

    python -m experiments.estimators --help

Two cells on one output line get the coincidences of one sample; their loss curves, and couples
them. E[L] is a finite sum: of BL slots the output line fires in k, and each cell's coincidences are
then binomial out of k. So the exact gradient in x is known for any BL, and each estimator's mean
over `samples` is compared with it.
"""

import dataclasses
import functools
import itertools
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
E_RIDER = {"learning_rate": 0.3, "transfer_rate": 0.2, "gamma": 0.3, "eta": 0.1}
STEPS, CENTER, GOAL = 10, 0.4, 0.5
CHOPPERS = {"relaxed": "relaxed_scalar", "score": "scalar"}  # by estimator
ESTIMATORS = ("mean field", "straight through", "score, no baseline", "score", "evolution")


class Cells(NamedTuple):
    """A linear response without noise."""

    dw_min: float = DW_MIN

    def response(self, w: Any) -> tuple[Any, Any]:
        """(q_up, q_down)."""
        return 1 - w / 2, 1 + w / 2


@dataclasses.dataclass(frozen=True)
class Config:
    """Compares estimators; writes estimators.csv, choppers.csv, estimators.png and manifest.json.

    Attributes:
      lengths: numbers of slots BL.
      flip_probs: flip probabilities of choppers, inside (0, 1).
      samples: samples of every estimator.
      out: folder for the results.
      overwrite: replace results of another configuration in that folder.
      resume: keep the parts that an earlier run has finished.
      smoke: one length, one probability, few samples, to see that everything works.
    """

    lengths: tuple[int, ...] = (1, 2, 4, 8, 16, 31)
    flip_probs: tuple[float, ...] = (0.03, 0.1, 0.3, 0.6)
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


def chopped_loss(flips: Any) -> Any:
    """E-RIDER's loss with these flips, one per step; between 0 and 1 a flip is relaxed in value."""

    def step(carry, flip):
        w, p, q, held, c = carry
        error = w + E_RIDER["gamma"] * c * (p - held) - GOAL
        u = -E_RIDER["learning_rate"] * c * error
        p = p + u - jnp.abs(u) * (p - CENTER)
        w = w + E_RIDER["transfer_rate"] * c * (p - held)
        q = q + E_RIDER["eta"] * (p - q)
        return (w, p, q, held + flip * (q - held), c * (1 - 2 * flip)), error**2 / 2

    return jnp.sum(jax.lax.scan(step, (0.0, 0.0, 0.0, 0.0, 1.0), flips)[1])


def of_all_flips(p: float) -> tuple[float, tuple[float, float, float]]:
    """d E[L] / dp, and (mean, its error 0, spread) of tangents; sums over all sequences of flips.

    Tangents, the straight-through estimator: sum of dL/df over the flips f of a sequence.
    """
    flips = np.array(list(itertools.product((0.0, 1.0), repeat=STEPS)))
    losses, slopes = jax.jit(jax.vmap(jax.value_and_grad(chopped_loss)))(flips)
    number, tangents = flips.sum(1), np.asarray(slopes, float).sum(1)
    chance = p**number * (1 - p) ** (STEPS - number)
    exact = np.sum(chance * (number / p - (STEPS - number) / (1 - p)) * np.asarray(losses, float))
    mean = np.sum(chance * tangents)
    spread = np.sqrt(np.sum(chance * (tangents - mean) ** 2))
    return float(exact), (float(mean), 0.0, float(spread))


def chopped_run(key: Any, p: Any, chopper: str) -> tuple[Any, Any]:
    """E-RIDER's loss, and the log-probability of its flips where they have one."""
    tx = spt.erider(
        residual_spec=spt.LinearResponse(center_mean=CENTER), weight_spec=spt.IdealStep(),
        chop_prob=p, chopper=chopper, key=key, method="mean", count="none", **E_RIDER,
    )  # fmt: skip

    def step(carry, _):
        w, state = carry
        updates, after = tx.update(w - GOAL, state, w)
        flipped = (after.chopper != state.chopper).astype(float)
        log_prob = spt.estimators.bernoulli_log_prob(flipped, 1, p)
        return (w + updates, after), ((w - GOAL) ** 2 / 2, log_prob)

    start = jnp.zeros(())
    _, found = jax.lax.scan(step, (start, tx.init(start)), length=STEPS)
    total, log_prob = map(jnp.sum, found)
    return total, log_prob if chopper == "scalar" else jnp.zeros(())


def of_choppers(config: Config, p: float) -> study.Records:
    """The exact derivative in p; of estimators mean, standard error and spread of one sample."""
    exact, tangents = of_all_flips(p)
    records = {"exact": np.array(exact), "straight through": np.array(tangents)}
    own = jax.random.fold_in(spt.random.fast_key(1), round(1e6 * p))
    for number, (name, kind) in enumerate(CHOPPERS.items()):
        fun = functools.partial(chopped_run, chopper=kind)
        estimate = jax.jit(spt.estimators.score_function_grad(fun, config.samples))
        found = estimate(jax.random.fold_in(own, number), p)
        error = float(found.std_error)
        records[name] = np.array([found.grad, error, error * math.sqrt(config.samples)])
    return records


def chopper_rows(finished: dict[str, study.Records], config: Config) -> list[dict[str, Any]]:
    """One row per flip probability and estimator, of those that are finished."""
    table = []
    for p in config.flip_probs:
        records = finished.get(f"chopper_{p:g}")
        if records is None:
            continue
        exact = float(records["exact"])
        for name in ("straight through", *CHOPPERS):
            mean, error, spread = map(float, records[name])
            row = {"p": p, "estimator": name, "exact": exact}
            row |= {"mean": mean, "std_error": error, "bias": (mean - exact) / abs(exact)}
            table.append(row | {"std_of_one": spread / abs(exact)})
    return table


def rows(finished: dict[str, study.Records], config: Config) -> list[dict[str, Any]]:
    """One row per finished length and estimator, relative to the norm of the exact gradient."""
    table = []
    for length in config.lengths:
        records = finished.get(f"length_{length}")
        if records is None:
            continue
        scale = np.linalg.norm(records["exact"])
        for name in ESTIMATORS:
            mean, error = records[name]
            trainings = {"mean field": 2, "evolution": config.samples // 2}.get(
                name, config.samples
            )
            spread = np.linalg.norm(error) * math.sqrt(trainings) / scale
            row = {
                "BL": length,
                "estimator": name,
                "bias": float(np.linalg.norm(mean - records["exact"]) / scale),
                "bias_error": float(np.linalg.norm(error) / scale),
                "std_of_one": float(spread),
                "samples_for_5_percent": math.ceil((spread / 0.05) ** 2) if spread > 1e-6 else 1,
            }
            table.append(row)
    return table


def draw(table: list[dict[str, Any]], choppers: list[dict[str, Any]], path: Path) -> None:
    """Bias and spread against BL, and the derivative in the flip probability."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    for name, color, marker in zip(ESTIMATORS, tables.COLOURS, "osD^v", strict=False):
        at = [row for row in table if row["estimator"] == name]
        x = [row["BL"] for row in at]
        axes[0].errorbar(x, [r["bias"] for r in at], [2 * r["bias_error"] for r in at],
                         marker=marker, color=color, capsize=3, label=name)  # fmt: skip
        if at[0]["std_of_one"] > 1e-6:
            axes[1].loglog(x, [r["std_of_one"] for r in at], marker=marker, color=color, label=name)
    for name, color, marker in zip(
        ("straight through", *CHOPPERS), tables.COLOURS[1:], "sD^", strict=False
    ):
        at = [row for row in choppers if row["estimator"] == name]
        axes[2].errorbar([r["p"] for r in at], [r["mean"] for r in at],
                         [2 * r["std_error"] for r in at], marker=marker, ls="none", color=color,
                         capsize=3, label=name)  # fmt: skip
    exact = sorted({(row["p"], row["exact"]) for row in choppers})
    axes[2].semilogx(*np.reshape(exact, (-1, 2)).T, "k--", lw=1, label="exact")
    axes[2].set_xticks([p for p, _ in exact], [f"{p:g}" for p, _ in exact])
    axes[2].minorticks_off()
    axes[0].set_xscale("log")
    axes[0].set_ylim(-0.1, 0.2)  # without a baseline nothing is known at this scale
    axes[0].set_ylabel("|mean − exact| / |exact| (2 standard errors)")
    axes[1].set_ylabel("standard deviation of one sample / |exact|")
    axes[2].set_ylabel("derivative of E-RIDER's loss in p (2 standard errors)")
    slots = "slots of the train, BL"
    for ax, label in zip(axes, (slots, slots, "flip probability p"), strict=True):
        ax.set_xlabel(label)
        ax.grid(alpha=0.3)
        ax.legend(edgecolor="none", fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def run(config: Config) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Does all lengths and choppers; each one is kept as it finishes. Returns both tables."""
    if min(config.lengths, default=0) < 1 or config.samples < 4:
        raise SystemExit("--lengths must be at least 1 each, --samples 4.")
    if not all(0 < p < 1 for p in config.flip_probs):
        raise SystemExit(f"--flip-probs must be inside (0, 1), got {config.flip_probs}.")

    def publish(finished):
        table, choppers = rows(finished, config), chopper_rows(finished, config)
        for name, found in {"estimators": table, "choppers": choppers}.items():
            if found:
                tables.write_csv(found, config.out / f"{name}.csv")
        draw(table, choppers, config.out / "estimators.png")

    parts = {f"length_{n}": lambda n=n: estimates(config, n) for n in config.lengths}
    parts |= {f"chopper_{p:g}": lambda p=p: of_choppers(config, p) for p in config.flip_probs}
    finished = study.collect(
        config.out,
        parts,
        spt.results.manifest({"config": dataclasses.asdict(config)}, seed=0),
        publish,
        resume=config.resume,
        overwrite=config.overwrite,
    )
    return rows(finished, config), chopper_rows(finished, config)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    config = tyro.cli(Config, args=arguments, prog="python -m experiments.estimators")
    if config.smoke:
        config = dataclasses.replace(config, lengths=(2,), flip_probs=(0.3,), samples=100)
    for table in run(config):
        print(tables.text([{k: tables.cell(v, ".3g") for k, v in row.items()} for row in table]))
        print()
    print(f"Results: {config.out}/estimators.csv, choppers.csv, .png", file=sys.stderr)


if __name__ == "__main__":
    main()
