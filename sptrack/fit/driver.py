"""Fitting a family of cells to traces, and comparing families."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sptrack._typing import check_number
from sptrack.fit.estimate import SHARED, Estimates, device_at, estimate, first_look
from sptrack.fit.families import FAMILIES, Curve
from sptrack.fit.result import FitResult, Misfit
from sptrack.fit.specs import population, spec_of
from sptrack.fit.traces import Traces
from sptrack.inference.arrow import joined
from sptrack.inference.population import Z95, Estimate

_CONVERGED = 1e-3  # of the log-likelihood: what one more step would still gain


def fit(
    traces: Traces,
    family: str = "soft_bounds",
    *,
    mult_noise: bool = False,
    log_normal: bool = False,
    read_noise_std: float = 0.0,
) -> FitResult:
    """Identifies a family of cells from pulse traces by maximum likelihood.

    Every cell has parameters of its own; cycle noise and read noise are common to all. The
    likelihood is a Kalman filter's along each trace (`sptrack.inference.filter`): exact for steps
    that are affine in the weight and additive cycle noise away from the bounds, and a normal
    approximation otherwise. Standard errors come from its Hessian. The spread over cells is
    estimated from the cells' estimates and their errors, so that it is the cells' and not that of
    the estimates. Gradients and Hessian are automatic; all is computed in double precision.

    Families and the parameters of a cell:
      constant_step          step_up, step_down, w_max, w_min
      linear_step            step_up, step_down (at w = 0), fall_up, fall_down (the share of them
                             lost per unit of weight), w_max, w_min
      soft_bounds            step_up, step_down (at w = 0), w_max, w_min
      soft_bounds_reference  step (at the symmetric point), symmetric_point, w_max, w_min (from
                             there): soft bounds wherever the zero of w is
      pow_step               step_up, step_down (at the opposite bound), w_max, w_min, gamma_up,
                             gamma_down
    All but soft_bounds_reference take w = 0 to lie between the bounds. Parameters of which the
    traces say nothing, as a hard bound that no cell has reached, come with a large standard error.

    Args:
      traces: reads between pulses, of `spt.read_traces` or `spt.simulate_traces`.
      family: one of the above.
      mult_noise: whether cycle noise scales with the step at the present weight, or (False) with
        the cell's step at w = 0 (soft_bounds_reference: at the symmetric point).
      log_normal: whether steps are log-normal over cells instead of normal.
      read_noise_std: the part of the noise of reads that is the instrument's; weight units. The
        rest becomes the spec's write noise.

    Returns:
      A `FitResult`, whose `spec` samples and trains.

    Raises:
      TypeError: if `traces` are none.
      ValueError: for an unknown family, traces of the wrong shape, or too few reads.

    Example:
      >>> key, d = jax.random.key(0), jnp.tile(jnp.array([1, -1]).repeat(25), 4)
      >>> device = spt.sample_device(key, spt.SoftBounds(dw_min=0.05, mult_noise=False), (5,))
      >>> traces = spt.simulate_traces(key, device, jnp.zeros(5), d, read_noise_std=0.02)
      >>> found = spt.fit(traces, "soft_bounds")
      >>> step = found.cells["step_up"]
      >>> bool(np.all(abs(step.value - 0.05 * device.up) < 4 * step.std_error))
      True
      >>> tx = spt.analog_sgd(0.1, weight_spec=found.spec, key=jax.random.key(1))
    """
    options = {"mult_noise": mult_noise, "log_normal": log_normal, "read_noise_std": read_noise_std}
    return fit_alike([traces], family, **options)[0]


def fit_alike(
    many: Sequence[Traces],
    family: str,
    *,
    mult_noise: bool = False,
    log_normal: bool = False,
    read_noise_std: float = 0.0,
) -> list[FitResult]:
    """`fit` for many measurements of the same shape, in one compiled program."""
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {tuple(FAMILIES)}, got {family!r}.")
    check_number("fit", "read_noise_std", read_noise_std, 0.0, np.inf)
    checked = [_checked(traces, family) for traces in many]
    scales = [float(np.nanmax(weights) - np.nanmin(weights)) for _, weights in checked]
    data = [(d, w / scale, *start(d, w / scale, family))
            for (d, w), scale in zip(checked, scales, strict=True)]  # fmt: skip
    with jax.enable_x64(True):
        estimate_all = _program(family, mult_noise)
        found = estimate_all(*(np.stack(part) for part in zip(*data, strict=True)))
        found = jax.tree.map(np.asarray, found)
    return [
        _result(jax.tree.map(lambda leaf, i=i: leaf[i], found), family, mult_noise, log_normal,
                read_noise_std, scale)
        for i, scale in enumerate(scales)
    ]  # fmt: skip


@functools.cache
def _program(family: str, mult_noise: bool) -> Any:
    return jax.jit(jax.vmap(functools.partial(estimate, name=family, mult_noise=mult_noise)))


def compare_fits(
    traces: Traces,
    families: Sequence[str] = ("constant_step", "linear_step", "soft_bounds", "pow_step"),
    *,
    mult_noise: Sequence[bool] = (False, True),
    **options: Any,
) -> list[FitResult]:
    """Fits several families, with both kinds of cycle noise, and sorts them by Akaike's criterion.

    A family whose `aic` is smaller by 10 is much the better one. The best of wrong ones is wrong
    too: see `misfit`.

    Args:
      traces: as in `spt.fit`.
      families: names of families.
      mult_noise: the kinds of cycle noise to try.
      **options: further arguments of `spt.fit`.

    Returns:
      The results, best first.

    Example:
      >>> key, d = jax.random.key(0), jnp.tile(jnp.array([1, -1]).repeat(25), 4)
      >>> device = spt.sample_device(key, spt.SoftBounds(dw_min=0.05, mult_noise=False), (5,))
      >>> traces = spt.simulate_traces(key, device, jnp.zeros(5), d, read_noise_std=0.02)
      >>> families = ["constant_step", "soft_bounds"]
      >>> [found.family for found in spt.compare_fits(traces, families, mult_noise=[False])]
      ['soft_bounds', 'constant_step']
    """
    found = [fit(traces, f, mult_noise=m, **options) for f in families for m in mult_noise]
    return sorted(found, key=lambda result: result.aic)


def start(
    directions: np.ndarray, weights: np.ndarray, family: str
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates to start from, by a first look at the data."""
    curve, added, read = first_look(directions, weights)
    parameters = FAMILIES[family].parameters
    values = FAMILIES[family].start(Curve(*(np.asarray(part) for part in curve)))
    cells = np.stack([np.log(p.sign * values[name]) if p.sign else values[name]
                      for name, p in parameters.items()], axis=1)  # fmt: skip
    size = float(np.median(FAMILIES[family].size(values)))
    return cells, np.log([max(added / size, 0.01), max(read, 1e-4)])


def _checked(traces: Any, family: str) -> tuple[np.ndarray, np.ndarray]:
    """Directions and weights as arrays that fit together and can be fitted."""
    if not isinstance(traces, Traces):
        raise TypeError(
            f"traces must be spt.Traces, got {type(traces).__name__}; read them with "
            "spt.read_traces, or make spt.Traces(directions, weights, cells)."
        )
    directions, weights = np.asarray(traces.directions, int), np.asarray(traces.weights, float)
    if directions.ndim != 2 or weights.shape != (len(directions) + 1, directions.shape[1]):
        raise ValueError(
            "traces must have directions of shape (pulses, cells) and weights of shape (pulses + "
            f"1, cells), got {directions.shape} and {weights.shape}."
        )
    if len(traces.cells) != directions.shape[1]:
        raise ValueError(f"{directions.shape[1]} traces, but {len(traces.cells)} names of cells.")
    needed = len(FAMILIES[family].parameters) + 3
    counts = np.isfinite(weights).sum(axis=0)
    if not counts.size:
        raise ValueError("traces have no cell.")
    if counts.min() < needed:
        name = traces.cells[int(np.argmin(counts))]
        raise ValueError(
            f"family {family!r} needs at least {needed} reads of every cell, got {counts.min()} of "
            f"cell {name!r}; leave this cell out."
        )
    if np.nanmax(weights) == np.nanmin(weights):
        raise ValueError(f"all weights are {np.nanmax(weights):g}: no pulse has had an effect.")
    return directions, weights


def _cells(found: Estimates, family: str, scale: float) -> tuple[dict, dict, Callable]:
    """Each cell's estimates; what its traces alone say, by name, and the covariance of that."""
    parameters = FAMILIES[family].parameters
    values, cells, slopes = {}, {}, {}
    for index, (name, parameter) in enumerate(parameters.items()):
        at, std = found.optimum.cells[:, index], np.sqrt(found.covariance[:, index, index])
        unit = scale**parameter.power
        middle, low, high = (
            np.asarray(parameter.value(at + z * std), float) * unit for z in (0, -Z95, Z95)
        )
        slope = np.asarray(parameter.slope(middle / unit), float) * unit
        ends = np.minimum(low, high), np.maximum(low, high)
        cells[name] = Estimate(middle, abs(slope) * std, *ends)
        values[name] = middle + slope * (found.alone[:, index] - at)
        # A cell whose estimate is small by chance has a small error for the same reason: weights
        # must not know.
        slopes[name] = slope * (middle.mean() / middle) ** (1 - parameter.steady)

    def covariance(*names):
        index = [list(parameters).index(name) for name in names]
        factors = np.stack([slopes[name] for name in names], axis=1)
        inner = found.alone_covariance[:, index][:, :, index]
        return inner * factors[:, :, None] * factors[:, None, :]

    return cells, values, covariance


def _result(found: Estimates, family, mult_noise, log_normal, read_noise, scale) -> FitResult:
    cells, values, covariance = _cells(found, family, scale)
    noise = _noise(found, scale)
    fields = population(family, values, covariance, log_normal)
    write = np.sqrt(max(float(noise["read_noise_std"].value) ** 2 - read_noise**2, 0.0))
    noises = {
        "dw_min_std": float(noise["dw_min_std"].value),
        "write_noise_std": float(write / fields["dw_min"].value),
        "mult_noise": mult_noise,
    }
    reads = int(found.found.read.sum())
    value = float(found.marginal) - reads * np.log(scale)
    count = 2 * len(cells) + len(SHARED)
    return FitResult(
        spec=spec_of(family, fields, noises, log_normal),
        family=family,
        mult_noise=mult_noise,
        log_normal=log_normal,
        cells=cells,
        population=fields,
        noise=noise,
        device=_device(found, family, mult_noise, scale),
        log_likelihood=value,
        num_parameters=count,
        num_reads=reads,
        aic=2 * count - 2 * value,
        bic=float(np.log(reads) * count - 2 * value),
        misfit=_misfit(found),
        residuals=np.where(
            found.found.read, found.found.error / np.sqrt(found.found.variance), np.nan
        ),
        converged=bool(found.optimum.decrement < _CONVERGED),
        coordinates={
            "cells": found.optimum.cells,
            "shared": found.shared,
            "covariance": found.covariance,
            "shared_covariance": found.shared_covariance,
            "scale": scale,
        },
    )


def _noise(found: Estimates, scale: float) -> dict[str, Estimate]:
    """The stds of the noise; below 1e-6 of the range there is none."""
    estimates = {}
    for index, (name, unit) in enumerate((("dw_min_std", 1.0), ("read_noise_std", scale))):
        at, std = found.shared[index], np.sqrt(found.shared_covariance[index, index])
        middle, low, high = (unit * np.exp(at + z * std) for z in (0, -Z95, Z95))
        estimates[name] = Estimate(*map(np.asarray, (middle, middle * std, low, high)))
    return estimates


def _misfit(found: Estimates) -> Misfit:
    freedom, statistic = int(found.freedom), float(found.statistic)
    p_value = float(jax.scipy.special.gammaincc(freedom / 2, statistic / 2)) if freedom else 1.0
    return Misfit(p_value, statistic, freedom, float(found.departure))


def _device(found: Estimates, family: str, mult_noise: bool, scale: float) -> Any:
    """The fitted cells in the weights' unit."""
    powers = np.array([p.power for p in FAMILIES[family].parameters.values()])
    signs = np.array([p.sign for p in FAMILIES[family].parameters.values()])
    unit = float(scale) ** powers
    cells = np.where(signs != 0, found.optimum.cells + np.log(unit), found.optimum.cells * unit)
    return device_at(family, mult_noise, joined(jnp.asarray(cells), found.shared))
