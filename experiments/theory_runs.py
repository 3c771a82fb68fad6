"""The simulations of `python -m experiments.theory`, each beside what theory says of it.

Every function returns rows: one point of one series, `simulated` with its `standard_error`, the
exact value in `theory` where there is one, and the theorem's `bound`.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import sptrack as spt
from experiments import tables
from sptrack import theory

REFERENCE = Path(__file__).parent / "reference" / "convergence_metric_toy.csv"

# The cell of science 4.0: a = 0.8, F* = 0.75, w* = 0.25; every run starts at -0.5.
CELL = {"alpha_up": 1.0, "alpha_down": 0.6}
START = -0.5

# The toy of the convergence metric: w* ~ N(0.3, 0.1), F = 1 - w* w; w_opt ~ N(0, 0.3).
TOY = spt.LinearResponse(asymmetry_mean=0.3, asymmetry_std=0.1)
ALGORITHMS = ("rider", "residual_learning", "erider")
W_ARRAYS = {"ideal": spt.IdealStep(), "same_kind_SP": TOY}
RATIO = 2.0  # beta / eta


def row(part: str, series: str, x: Any, simulated: Any, **others: Any) -> dict[str, Any]:
    """One point; what is not given is None."""
    values = dict.fromkeys(("standard_error", "theory", "bound", "reference")) | others
    numbers = {k: None if v is None else float(v) for k, v in values.items()}
    return {"part": part, "series": series, "x": float(x), "simulated": float(simulated), **numbers}


# Zero-shifting


def zero_shift_rows(key: Any, dw_mins: Sequence[float], cells: int) -> list[dict[str, Any]]:
    """Squared error against pulses, and its floor against dw_min, of both schemes."""
    rows = []
    for number, dw_min in enumerate(dw_mins):
        key_now = jax.random.fold_in(key, number)
        rows += _stochastic(key_now, dw_min, cells)
        with jax.enable_x64(True):  # single precision stalls 1e-5 short of the limit
            rows += _cyclic(key_now, dw_min)
    return rows


def _device(dw_min: float, cells: int) -> Any:
    spec = spt.LinearResponse(dw_min=dw_min, **CELL)
    return spt.sample_device(jax.random.key(0), spec, (cells,))


def _points(count: int) -> np.ndarray:
    """Some 30 indices of a trace, evenly spread on a logarithmic axis."""
    return np.unique(np.geomspace(1, count, 30).round().astype(int)) - 1


def _stochastic(key: Any, dw_min: float, cells: int) -> list[dict[str, Any]]:
    device, start = _device(dw_min, cells), jnp.full(cells, START)
    every = max(1, round(0.02 / dw_min))  # 50 records in the time 1 / dw_min
    pulses = 800 * every
    run = jax.jit(
        spt.zero_shift, static_argnames=("num_pulses", "scheme", "record_every", "average")
    )
    trace = run(key, device, start, pulses, scheme="stochastic", record_every=every).trace
    squares = np.asarray((trace - 0.25) ** 2, float)
    one = jax.tree.map(lambda x: x if x.ndim == 0 else x[:1], device)
    low, high = jnp.full(1, min(START, trace.min())), jnp.full(1, trace.max())
    indices = _points(len(squares))
    counts = (indices + 1) * every

    @jax.jit
    def exact_and_bounds(counts):
        constants = theory.response_constants(one, low, high)
        moments = jax.vmap(lambda n: theory.stochastic_moments(one, start[:1], n).second[0])
        bound = jax.vmap(lambda n: theory.stochastic_error_bound(one, start[:1], n, constants)[0])
        return moments(counts), bound(counts), theory.stationary_variance(one)[0]

    exact, bounds, limit = exact_and_bounds(jnp.append(jnp.asarray(counts), 100 * pulses))
    rows = [
        row(
            "stochastic",
            f"dw_min={dw_min:g}",
            n,
            now.mean(),
            standard_error=now.std(ddof=1) / np.sqrt(cells),
            theory=exact[i],
            bound=bounds[i],
        )
        for i, (n, now) in enumerate(zip(counts, squares[indices], strict=True))
    ]
    late = squares[len(squares) // 2 :].mean(axis=0)  # one time average per cell
    floor = row(
        "floor",
        "stochastic",
        dw_min,
        late.mean(),
        standard_error=late.std(ddof=1) / np.sqrt(cells),
        theory=limit,
        bound=bounds[-1],
    )
    return [*rows, floor]


def _cyclic(key: Any, dw_min: float) -> list[dict[str, Any]]:
    """One cell, up first, read after every pair; without noise there is nothing to average."""
    device, start = _device(dw_min, 1), jnp.full(1, START)
    every = 2 * max(1, round(0.01 / dw_min))
    pulses = 1200 * every
    run = jax.jit(spt.zero_shift, static_argnames=("num_pulses", "record_every"))
    trace = run(key, device, start, pulses, record_every=every).trace
    squares = np.asarray((trace[:, 0] - 0.25) ** 2, float)
    low = jnp.full(1, min(START, trace.min()))
    indices = _points(len(squares))
    counts = (indices + 1) * every

    @jax.jit
    def exact_and_bounds(counts):
        end, top = theory.two_cycle(device).after_down, theory.two_cycle(device).after_up
        constants = theory.response_constants(device, low, top)
        contraction = theory.pair_contraction(device)
        exact = jax.vmap(lambda n: (end - 0.25 + contraction ** (n // 2) * (start - end))[0] ** 2)
        bound = jax.vmap(lambda n: theory.cyclic_error_bound(device, start, n, constants)[0])
        return exact(counts), bound(counts)

    exact, bounds = exact_and_bounds(jnp.append(jnp.asarray(counts), 100 * pulses))
    rows = [
        row("cyclic", f"dw_min={dw_min:g}", n, now, theory=exact[i], bound=bounds[i])
        for i, (n, now) in enumerate(zip(counts, squares[indices], strict=True))
    ]
    floor = row("floor", "cyclic", dw_min, squares[-1], theory=exact[-1], bound=bounds[-1])
    return [*rows, floor]


# The convergence metric


def algorithm(name: str, w_array: str, steps: Any, key: Any) -> Any:
    """At the rates of Theorem 3.7: alpha = 1/sqrt(K), beta = gamma alpha, eta = alpha/4."""
    alpha = 1 / jnp.sqrt(steps)
    common = {
        "residual_spec": TOY,
        "weight_spec": W_ARRAYS[w_array],
        "transfer_rate": 0.5 * alpha,
        "gamma": 0.5,
        "key": key,
        "method": "mean",
    }
    if name == "residual_learning":
        return spt.residual_learning(alpha, reference="true", **common)
    if name == "rider":
        return spt.rider(alpha, eta=alpha / 4, **common)
    return spt.erider(alpha, eta=alpha / 4, chop_prob=0.3 * alpha, **common)


@functools.partial(jax.jit, static_argnames=("name", "w_array", "cells"))
def convergence(keys: Any, steps: Any, *, name: str, w_array: str, cells: int) -> tuple[Any, Any]:
    """(E_K, RIDER's lower bound), means over cells, for every key; K is traced: one program."""

    def one(key):
        device_key, optimum_key, noise_key = (jax.random.fold_in(key, n) for n in range(3))
        tx = algorithm(name, w_array, jnp.asarray(steps, float), device_key)
        optimum = 0.3 * jax.random.normal(optimum_key, (cells,))
        start = jnp.zeros(cells)
        begin = tx.init(start)
        device = begin.residual.device
        reference = "held_sp" if name == "residual_learning" else "tracked_sp"

        def step(k, carry):
            params, state, total = carry
            noise = jax.random.normal(jax.random.fold_in(noise_key, k), (cells,))
            updates, state = tx.update(params - optimum + noise, state, params)
            arrays = spt.read_arrays(state)
            terms = theory.convergence_terms(
                device,
                weight=arrays["weight"],
                residual=arrays["residual"],
                reference=arrays[reference],
                optimum=optimum,
            )
            return optax.apply_updates(params, updates), state, total + sum(terms) / steps

        total = jax.lax.fori_loop(0, steps, step, (start, begin, start))[2]
        bound = theory.rider_lower_bound(
            device, weight=start, tracked_sp=start, optimum=optimum, ratio=RATIO, mu_q=1.0
        )
        return total.mean(), bound.mean()

    return jax.vmap(one)(keys)


def reference_runs() -> dict[tuple[str, str, int], float]:
    """E_K by (W array, algorithm, K), of one run per entry."""
    columns = {"rider": "RIDER", "residual_learning": "RL_true_SP", "erider": "E_RIDER"}
    return {
        (line["W_tile"], name, int(line["K"])): float(line[column])
        for line in tables.read_csv(REFERENCE)
        for name, column in columns.items()
    }


def convergence_rows(
    key: Any, step_numbers: Sequence[int], seeds: int, cells: int
) -> tuple[list[dict[str, Any]], dict[tuple[str, str], np.ndarray]]:
    """Rows, and E_K of every seed by (W array, algorithm), of shape (numbers of steps, seeds)."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(seeds))
    known, rows, found = reference_runs(), [], {}
    for w_array in W_ARRAYS:
        for name in ALGORITHMS:
            values = []
            for steps in step_numbers:
                metric, bound = convergence(keys, steps, name=name, w_array=w_array, cells=cells)
                metric, bound = np.asarray(metric, float), np.asarray(bound, float)
                values.append(metric)
                bounded = w_array == "ideal" and name == "rider"
                rows.append(
                    row(
                        f"convergence, {w_array} W",
                        name,
                        steps,
                        metric.mean(),
                        standard_error=metric.std(ddof=1) / np.sqrt(seeds),
                        bound=bound.mean() if bounded else None,
                        reference=known.get((w_array, name, steps)),
                    )
                )
            found[w_array, name] = np.stack(values)
    return rows, found


def slope(steps: Sequence[int], values: np.ndarray) -> tuple[float, float]:
    """Slope of log E_K against log K, and its standard error over seeds (jackknife)."""

    def fit(metric):
        return np.polyfit(np.log(steps), np.log(metric), 1)[0]

    seeds = values.shape[1]
    left_out = [fit(np.delete(values, seed, axis=1).mean(axis=1)) for seed in range(seeds)]
    error = np.sqrt((seeds - 1) * np.var(left_out))
    return float(fit(values.mean(axis=1))), float(error)


# The filter


def filter_rows(etas: Sequence[float], length: int = 4096) -> list[dict[str, Any]]:
    """Gain |H| of the link `spt.low_pass` by the FFT of its impulse response, and Lemma 3.10."""
    rows = []
    impulse = jnp.zeros(length).at[0].set(1)
    for eta in etas:
        tx = spt.low_pass(eta)

        def step(state, u, tx=tx):
            out, state = tx.update(u, state)
            return state, out

        response = jax.lax.scan(step, tx.init(impulse[0]), impulse)[1]
        gain = np.abs(np.fft.rfft(np.asarray(response, float)))
        for index in np.unique(np.geomspace(1, length // 2, 40).round().astype(int)):
            omega = 2 * np.pi * index / length
            exact = abs(theory.low_pass_response(eta, omega))
            rows.append(row("filter", f"eta={eta:g}", omega, gain[index], theory=exact))
    return rows
