"""What a fit returns, and what can be asked of it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sptrack._random import as_key, normal
from sptrack._typing import Key
from sptrack.fit.estimate import device_at
from sptrack.fit.families import FAMILIES
from sptrack.fit.traces import Traces
from sptrack.inference.population import Estimate
from sptrack.pulses.read_train import pulse_and_read


class Misfit(NamedTuple):
    """Whether the residuals ask for another response than the family's.

    Attributes:
      p_value: probability of residuals at least as uneven if the family is right.
      statistic: of the score test against bent mean steps.
      freedom: its degrees of freedom.
      departure: how far the response departs from the family's, RMS over mean step.

    Example:
      >>> spt.Misfit(p_value=0.3, statistic=4.9, freedom=4, departure=0.01)._fields
      ('p_value', 'statistic', 'freedom', 'departure')
    """

    p_value: float
    statistic: float
    freedom: int
    departure: float


class FitResult(NamedTuple):
    """A family of cells identified from traces; every number has the weights' unit.

    Attributes:
      spec: the distribution the cells come from; it samples and trains like any other.
      family, mult_noise, log_normal: what was fitted.
      cells: estimates of each cell's parameters, by name.
      population: estimates of the spec's fields that vary over cells, by name.
      noise: estimates of "dw_min_std" (cycle noise) and "read_noise_std" (all that a read adds).
      device: the cells themselves, shape (cells,), with the noises found.
      log_likelihood: at the optimum.
      num_parameters: of all cells, and the two of the noise.
      num_reads: reads that were predicted.
      aic, bic: -2 log-likelihood with Akaike's and Schwarz's penalty; smaller is better.
      misfit: test of the residuals, a `Misfit`.
      residuals: errors of the predicted reads over their stds, shape (pulses, cells), NaN where
        nothing was predicted; standard normal and independent if all is right.
      converged: whether the search has ended at an optimum.
      coordinates: mean and covariance of the cells' coordinates and of the noise's, and the unit of
        weight in them; for `posterior_predictive`.

    Example:
      >>> key, d = jax.random.key(0), jnp.tile(jnp.array([1, -1]).repeat(25), 4)
      >>> device = spt.sample_device(key, spt.SoftBounds(dw_min=0.05, mult_noise=False), (5,))
      >>> traces = spt.simulate_traces(key, device, jnp.zeros(5), d, read_noise_std=0.02)
      >>> found = spt.fit(traces, "soft_bounds")
      >>> found.converged, found.cells["w_max"].value.shape
      (True, (5,))
    """

    spec: Any
    family: str
    mult_noise: bool
    log_normal: bool
    cells: dict[str, Estimate]
    population: dict[str, Estimate]
    noise: dict[str, Estimate]
    device: Any
    log_likelihood: float
    num_parameters: int
    num_reads: int
    aic: float
    bic: float
    misfit: Misfit
    residuals: np.ndarray
    converged: bool
    coordinates: dict[str, Any]


def posterior_predictive(
    key: Key, result: FitResult, traces: Traces, *, num_draws: int = 100
) -> np.ndarray:
    """Draws traces that the fitted cells might have shown instead.

    Parameters are drawn from the normal law that the fit found for them, the start from the first
    read's noise, and the pulses are simulated one by one. Where a family and its noise are right,
    a share q of the reads lies between the quantiles (1 - q) / 2 and (1 + q) / 2 of the draws.

    Args:
      key: a JAX random key.
      result: what `spt.fit` returned for the traces.
      traces: the traces; their directions and first reads are used.
      num_draws: traces per cell.

    Returns:
      Reads before the first and after every pulse, shape (num_draws, pulses + 1, cells); where a
      cell's reads begin later than pulse 0, its pulses before that have no effect.

    Example:
      >>> key, d = jax.random.key(0), jnp.tile(jnp.array([1, -1]).repeat(25), 4)
      >>> device = spt.sample_device(key, spt.SoftBounds(dw_min=0.05, mult_noise=False), (5,))
      >>> traces = spt.simulate_traces(key, device, jnp.zeros(5), d, read_noise_std=0.02)
      >>> found = spt.fit(traces, "soft_bounds")
      >>> draws = spt.posterior_predictive(jax.random.key(1), found, traces, num_draws=100)
      >>> low, high = np.quantile(draws, [0.05, 0.95], axis=0)
      >>> inside = (low < traces.weights) & (traces.weights < high)
      >>> bool(0.85 < inside.mean() < 0.95)
      True
    """
    about = result.coordinates
    weights = np.asarray(traces.weights, float)
    begins = np.argmax(np.isfinite(weights), axis=0)
    directions = np.where(np.arange(len(weights) - 1)[:, None] < begins, 0, traces.directions)
    first = np.take_along_axis(weights, begins[None], axis=0)[0]
    draw = jax.vmap(_one_trace, in_axes=(0,) + 8 * (None,))
    with jax.enable_x64(True):
        keys = jax.vmap(lambda i: jax.random.fold_in(as_key(key), i))(jnp.arange(num_draws))
        shown = draw(
            keys, result.family, result.mult_noise, about["cells"], about["shared"],
            _root(about["covariance"]), _root(about["shared_covariance"]), first / about["scale"],
            directions,
        )  # fmt: skip
        return np.asarray(shown) * about["scale"]


def _one_trace(key, family, mult_noise, cells, shared, root, shared_root, first, directions):
    """One draw of parameters, start and pulses, in the coordinates' unit."""
    moved = jnp.einsum("cpq,cq->cp", root, normal(key, "cells", jnp.asarray(cells)))
    noise = shared + shared_root @ normal(key, "shared", jnp.asarray(shared))
    point = jnp.concatenate([cells + moved, jnp.broadcast_to(noise, (len(cells), 2))], axis=1)
    device, read_noise = device_at(family, mult_noise, point), jnp.exp(noise[-1])
    start = first + read_noise * normal(key, "start", jnp.asarray(first))
    start = jnp.clip(start, *device.bounds())
    return pulse_and_read(key, device, start, directions, read_noise)[1]


def _root(covariance: np.ndarray) -> np.ndarray:
    """A matrix L with L L' = covariance; nothing where the data leave a direction open."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.clip(values, 0, 1))[..., None, :]


def parameter_names(family: str) -> tuple[str, ...]:
    """Names of a family's parameters, in the order of the coordinates."""
    return tuple(FAMILIES[family].parameters)
