"""Symmetric points that drift while algorithms track them: error against speed and filter rate.

    python -m experiments.sp_drift --help

The symmetric points of all cells of P move by v per step. "response": the cells' response moves
and their weights stay. "reference": the second device of w = h - r moves, and with it symmetric
point and weight together. Cells are affine (a = F* = 1), with symmetric points N(0, 0.1) at the
start; the whole response moves, bounds included, so that a steady state can be waited for whatever
v is: what is given is how far behind Q is, not how long a real cell's range would last. Gradients
have the noise +-sigma, P gets a pulse in every second step, and lambda = 0.005 per step.

tracker      RIDER's P and Q alone: no mean gradient, W stands still.
erider       E-RIDER learning an optimum N(0, 0.3) on a quadratic, ideal W array.
erider_real  E-RIDER with a W array of the same cells, whose own symmetric points stay.
agad         AGAD with such a W array behind its digital buffer; flips come every 1/p steps.
rider        RIDER on the same problem, ideal W array.
frozen       residual learning with the symmetric points of the start: a two-stage algorithm whose
             calibration was perfect, and is never repeated; ideal W array.

Beside those that have one stands their closed form: `spt.theory.tracking_lag`,
`tracking_variance`, `erider_lag`, `rider_following`. Means are over the last quarter of the steps,
all cells and seeds.
"""

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import sptrack as spt
from experiments import distributed, study, tables
from sptrack import theory

DW_MIN, SHARE = 0.01, 0.5  # of a pulse; pulses per step
CELLS = spt.LinearResponse(dw_min=DW_MIN, center_std=0.1)  # a = F* = 1
CONTRACTION = SHARE * DW_MIN  # lambda = a E|alpha g|
NOISE, CURVATURE = 1.0, 1.0  # sigma, mu
PULL = CURVATURE / NOISE  # mu F* / (a E|g|)
GAMMA, TRANSFER_RATE, CHOP_PROB = 0.1, 1e-3, 0.01
RUNS = {  # part -> algorithm, what moves
    "tracker_response": ("tracker", "response"),
    "tracker_reference": ("tracker", "reference"),
    "erider": ("erider", "response"),
    "erider_real": ("erider_real", "response"),
    "agad": ("agad", "response"),
    "rider": ("rider", "response"),
    "frozen": ("frozen", "response"),
}
REAL = ("erider_real", "agad")  # whose W array is of real cells; without a closed form
TITLES = {
    "erider": "E-RIDER",
    "erider_real": "E-RIDER, real W",
    "agad": "AGAD, real W",
    "rider": "RIDER",
    "frozen": "calibrated once",
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Tracking error against drift; writes sp_drift.csv, .png and manifest.json.

    Attributes:
      drifts: v, weight units per step.
      etas: rates of the filter.
      chop_prob: p, flips per step in E-RIDER and AGAD.
      cells: cells of an array.
      seeds: arrays per point, at least 2.
      steps: steps; the smallest eta should have forgotten its start after three quarters of them.
      out: folder for the results.
      overwrite: replace results of another configuration in that folder.
      resume: keep the parts that an earlier run has finished.
      distributed: share the parts out among the processes of a Slurm (or other) job.
      smoke: few cells and steps, to see that everything works.
    """

    drifts: tuple[float, ...] = (1e-5, 3e-5, 1e-4, 3e-4)
    etas: tuple[float, ...] = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
    chop_prob: float = CHOP_PROB
    cells: int = 32
    seeds: int = 16
    steps: int = 20_000
    out: Path = Path("runs/sp_drift")
    overwrite: bool = False
    resume: bool = False
    distributed: bool = False
    smoke: bool = False


def algorithm(name: str, eta: Any, key: Any, chop_prob: float = CHOP_PROB) -> Any:
    """The optimizer of a run; alpha makes a gradient of NOISE half a pulse."""
    weight = CELLS if name in REAL else spt.IdealStep()
    given: dict[str, Any] = {"residual_spec": CELLS, "weight_spec": weight, "key": key}
    learning: dict[str, Any] = {"transfer_rate": TRANSFER_RATE, "gamma": GAMMA}
    alpha = SHARE * DW_MIN / NOISE
    if name == "tracker":
        return spt.rider(alpha, eta=eta, transfer_rate=0.0, gamma=0.0, **given)
    if name == "rider":
        return spt.rider(alpha, eta=eta, **learning, **given)
    if name in ("erider", "erider_real"):
        return spt.erider(alpha, eta=eta, chop_prob=chop_prob, **learning, **given)
    if name == "agad":
        buffer = spt.DigitalBuffer(granularity=1.0)  # of a pulse: W moves as fast as without one
        rates = {"transfer_rate": TRANSFER_RATE, "eta": eta, "chop_prob": chop_prob}
        return spt.agad(alpha, buffer=buffer, **rates, **given)
    return spt.residual_learning(alpha, reference="true", **learning, **given)


@functools.partial(jax.jit, static_argnames=("name", "moves", "cells", "steps", "chop_prob"))
def drifting(
    keys: Any,
    drift: Any,
    eta: Any,
    *,
    name: str,
    moves: str,
    cells: int,
    steps: int,
    chop_prob: float = CHOP_PROB,
) -> study.Records:
    """Runs of every key at every pair (drift, eta), both of shape (points,).

    Returns:
      Arrays of shape (points, keys), means over cells and the last quarter of the steps: "lag", of
      S minus its reference; "square", the mean of its square; "followed", the reference's speed
      over v; "loss", mean square of W_bar - W_opt.
    """
    late = steps - steps // 4

    def one(key, v, rate):
        device_key, optimum_key, noise_key = (jax.random.fold_in(key, n) for n in range(3))
        tx = algorithm(name, rate, device_key, chop_prob)
        learns = 0.0 if name == "tracker" else CURVATURE
        optimum = 0.3 * jax.random.normal(optimum_key, (cells,)) * (learns > 0)
        start = jnp.zeros(cells)
        begin = tx.init(start)
        response = begin.residual.device
        point = spt.symmetric_point(response)

        def step(carry, k):
            params, state, squares = carry
            shift = v * (k + 1)
            state = moved(state, response, shift, v if moves == "reference" else 0.0)
            noise = NOISE * jax.random.rademacher(jax.random.fold_in(noise_key, k), (cells,), float)
            gradient = learns * (params - optimum) + noise
            updates, state = tx.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
            arrays = spt.read_arrays(state)
            behind = point + shift - arrays["held_sp" if name == "frozen" else "tracked_sp"]
            now = jnp.stack([jnp.mean(behind**2), jnp.mean((params - optimum) ** 2)])
            return (params, state, squares + (k >= late) * now), jnp.mean(behind)

        (_, _, squares), behind = jax.lax.scan(
            step, (start, begin, jnp.zeros(2)), jnp.arange(steps)
        )
        square, loss = squares / (steps - late)
        grown = (behind[-1] - behind[late - 1]) / (v * (steps - late))
        return {
            "lag": behind[late:].mean(), "square": square, "loss": loss, "followed": 1 - grown,
        }  # fmt: skip

    of_keys = jax.vmap(one, in_axes=(0, None, None))
    return jax.vmap(of_keys, in_axes=(None, 0, 0))(keys, drift, eta)


def moved(state: Any, response: Any, shift: Any, carried: Any) -> Any:
    """The state with P's response moved by `shift` from where it was made, and P by `carried`."""
    array = state.residual
    device = response.against(jnp.full_like(array.hidden, -shift))
    return state._replace(residual=array._replace(device=device, hidden=array.hidden + carried))


def points(name: str, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (drift, eta); without a filter one eta is enough."""
    etas = config.etas[:1] if name == "frozen" else config.etas
    pairs = np.array([(v, eta) for v in config.drifts for eta in etas])
    return pairs[:, 0], pairs[:, 1]


def run_part(part: str, config: Config) -> study.Records:
    """The records of a part, shape (points, seeds)."""
    name, moves = RUNS[part]
    drift, eta = points(name, config)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(
        spt.random.fast_key(0), jnp.arange(config.seeds)
    )
    records = drifting(keys, jnp.asarray(drift, float), jnp.asarray(eta, float), name=name,
                       moves=moves, cells=config.cells, steps=config.steps,
                       chop_prob=config.chop_prob)  # fmt: skip
    return {key: np.asarray(values, float) for key, values in records.items()}


def predicted(
    name: str, moves: str, v: float, eta: float, steps: int, chop_prob: float = CHOP_PROB
) -> dict[str, float | None]:
    """What theory says of a point: lag, RMS error and share that is followed, where it does."""
    known: dict[str, float | None] = dict.fromkeys(("lag", "rms", "followed"))
    if name == "rider":
        return known | {"followed": float(theory.rider_following(TRANSFER_RATE / eta, PULL))}
    if name == "frozen":
        gone = v * np.arange(steps - steps // 4 + 1, steps + 1)  # in the last quarter
        rms = float(np.sqrt(np.mean(gone**2)))
        return {"lag": float(gone.mean()), "rms": rms, "followed": 0.0}
    if name in REAL:
        return known
    known["followed"] = 1.0
    if name == "erider":
        lag = theory.erider_lag(v, CONTRACTION, eta, pull=PULL, gamma=GAMMA,
                                transfer_rate=TRANSFER_RATE, chop_prob=chop_prob)  # fmt: skip
        return known | {"lag": float(lag)}
    lag = float(theory.tracking_lag(v, CONTRACTION, eta, moves=moves))
    return known | {"lag": lag, "rms": float(tracker_rms(v, eta, moves))}


def tracker_rms(v: float, eta: Any, moves: str) -> np.ndarray:
    """RMS error of the tracker alone in theory, of eta's shape."""
    lag = theory.tracking_lag(v, CONTRACTION, eta, moves=moves)
    return np.sqrt(lag**2 + theory.tracking_variance(eta, CONTRACTION, variance_of_p()))


@functools.cache
def variance_of_p() -> float:
    """Of P around a symmetric point that stays."""
    return float(theory.stationary_variance(spt.sample_device(jax.random.key(0), CELLS, ())))


def rows(finished: dict[str, study.Records], config: Config) -> list[dict[str, Any]]:
    """One row per algorithm, way to move, drift and eta; standard errors are over seeds."""
    table = []
    for part, records in finished.items():
        name, moves = RUNS[part]
        for at, (v, eta) in enumerate(zip(*points(name, config), strict=True)):
            root = np.sqrt(records["square"][at].size)
            mean, error = (
                {key: float(f(values[at])) for key, values in records.items()}
                for f in (np.mean, lambda x, root=root: np.std(x, ddof=1) / root)
            )
            rms = np.sqrt(mean["square"])
            theirs = predicted(name, moves, v, eta, config.steps, config.chop_prob)
            table.append(
                {
                    "algorithm": name,
                    "moves": moves,
                    "drift": float(v),
                    "eta": None if name == "frozen" else float(eta),
                    "rms_error": float(rms),
                    "rms_error_se": float(error["square"] / (2 * rms)),
                    "predicted_rms": theirs["rms"],
                    "lag": mean["lag"],
                    "lag_se": error["lag"],
                    "predicted_lag": theirs["lag"],
                    "followed": mean["followed"],
                    "followed_se": error["followed"],
                    "predicted_followed": theirs["followed"],
                    "rms_weight_error": float(np.sqrt(mean["loss"])),
                }
            )
    return table


def best(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per algorithm, way to move and drift: the eta with the least error, the rule's for trackers.

    The rule is `theory.best_tracking_rate`.
    """
    lines = []
    for kind in dict.fromkeys((row["algorithm"], row["moves"], row["drift"]) for row in table):
        same = [row for row in table if (row["algorithm"], row["moves"], row["drift"]) == kind]
        least = min(same, key=lambda row: row["rms_error"])
        rule = ""
        if kind[0] == "tracker":
            rate = theory.best_tracking_rate(kind[2], CONTRACTION, variance_of_p())
            rule = f"{float(rate):.2g}"
        lines.append(
            {
                "algorithm": kind[0],
                "moves": kind[1],
                "drift": f"{kind[2]:g}",
                "best eta": "" if least["eta"] is None else f"{least['eta']:g}",
                "rule": rule,
                "RMS error": f"{least['rms_error']:.4f} ± {least['rms_error_se']:.4f}",
                "lag": f"{least['lag']:.4f}",
                "followed": f"{least['followed']:.3f}",
                "RMS of W_bar - W_opt": f"{least['rms_weight_error']:.3f}",
            }
        )
    return lines


def draw(table: list[dict[str, Any]], path: Path) -> None:
    """Error against eta beside the closed form; least error against drift, for all algorithms."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    for ax, moves in zip(axes, theory.drift.MOVES, strict=False):
        tracked = [r for r in table if (r["algorithm"], r["moves"]) == ("tracker", moves)]
        drifts = list(dict.fromkeys(row["drift"] for row in tracked))
        for v, color in zip(drifts, tables.COLOURS, strict=False):
            same = [row for row in tracked if row["drift"] == v]
            x, y = [row["eta"] for row in same], [row["rms_error"] for row in same]
            ax.errorbar(x, y, yerr=[r["rms_error_se"] for r in same], fmt="o", ms=4, color=color,
                        label=f"v = {v:g}")  # fmt: skip
            fine = np.geomspace(min(x), max(x), 60) if len(x) > 1 else np.array(x)
            ax.loglog(fine, tracker_rms(v, fine, moves), color=color, lw=1)
        ax.set_title(f"tracker alone, the {moves} moves", fontsize=10)
        ax.set_xlabel("filter rate η")
        ax.set_ylabel("RMS of Q − S (weight)")
        if tracked:
            ax.legend(fontsize=8, title="lines: closed form", title_fontsize=8)
    kinds = list(dict.fromkeys((row["algorithm"], row["moves"]) for row in table))
    for kind, color, marker in zip(kinds, tables.COLOURS, "os^vD<>", strict=False):
        same = [row for row in table if (row["algorithm"], row["moves"]) == kind]
        drifts = list(dict.fromkeys(row["drift"] for row in same))
        least = [min(row["rms_error"] for row in same if row["drift"] == v) for v in drifts]
        name = TITLES.get(kind[0], f"tracker, {kind[1]} moves")
        axes[2].loglog(drifts, least, f"{marker}-", color=color, ms=5, label=name)
    axes[2].set_title("at the best η of each drift", fontsize=10)
    axes[2].set_xlabel("drift v (weight per step)")
    axes[2].legend(fontsize=8)
    for ax in axes:
        ax.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def run(config: Config) -> list[dict[str, Any]]:
    """Does all parts; each one is kept as it finishes."""
    if config.smoke:
        config = dataclasses.replace(
            config, drifts=(3e-4,), etas=(1e-2, 1e-1), cells=8, seeds=2, steps=2000
        )
    if config.seeds < 2 or config.cells < 1 or config.steps < 8:
        raise SystemExit("--seeds must be at least 2, --cells 1, --steps 8.")
    if not config.drifts or not all(np.array(config.drifts) != 0):
        raise SystemExit(f"--drifts must not be zero, got {config.drifts}.")
    if not config.etas or not all(0 < eta <= 1 for eta in config.etas):
        raise SystemExit(f"--etas must be in (0, 1], got {config.etas}.")
    if not 0 < config.chop_prob <= 1:
        raise SystemExit(f"--chop-prob must be in (0, 1], got {config.chop_prob:g}.")

    def publish(records: dict[str, study.Records]) -> None:
        table = rows(records, config)
        tables.write_csv(table, config.out / "sp_drift.csv")
        draw(table, config.out / "sp_drift.png")

    finished = study.collect(
        config.out,
        {part: functools.partial(run_part, part, config) for part in RUNS},
        spt.results.manifest({"config": dataclasses.asdict(config)}, seed=0),
        publish,
        resume=config.resume,
        overwrite=config.overwrite,
    )
    return rows(finished, config)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    config = tyro.cli(Config, args=arguments, prog="python -m experiments.sp_drift")
    distributed.start(config.distributed)
    print(tables.text(best(run(config))))
    print(f"Results: {config.out}/sp_drift.csv, .png, manifest.json", file=sys.stderr)


if __name__ == "__main__":
    main()
