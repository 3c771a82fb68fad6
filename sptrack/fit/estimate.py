"""The numbers of a fit: optimum, curvature, and a test of the residuals, as one pure function.

Everything is in units of the range of all weights, and in coordinates that may take any value
(`families.Parameter`). A cell has p of its own, and two belong to all cells: the logarithms of the
relative cycle noise and of the std of a read. `sptrack.inference.search` finds them under a normal
law of the cells' coordinates. The noise found in this way is too small, because every cell's
parameters follow some of it; the likelihood in which the cells are integrated out by Laplace's
method, log posterior - 1/2 sum_i log |H_i|, gives the correction as one step of Newton.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sptrack._typing import Array
from sptrack.fit.families import FAMILIES, Curve
from sptrack.inference.arrow import (
    Optimum,
    Prior,
    Summary,
    eliminated,
    joined,
    penalised,
    summarise,
)
from sptrack.inference.filter import Innovations, innovations
from sptrack.inference.search import search

SHARED = ("cycle_noise", "read_noise")
_FLOOR = 1e-6  # of the std of a read: six digits of the range
_LEAST_LEFT = 1e-3  # a direction that keeps less of its information is one of the family's own
_DEGREES = 3  # of the polynomials that the test of the residuals adds to a response


class Estimates(NamedTuple):
    """What the data say, in coordinates.

    Attributes:
      optimum: where the search ended, prior included.
      covariance: of each cell's own coordinates, shape (cells, p, p).
      shared: logarithms of relative cycle noise and read noise, corrected, shape (2,).
      shared_covariance: theirs, shape (2, 2).
      alone: what each cell's traces alone say of it, to first order, shape (cells, p).
      alone_covariance: of that, shape (cells, p, p).
      marginal: logarithm of the likelihood with the cells integrated out.
      found: the filter's output at the optimum.
      statistic, freedom: of the test of the residuals; chi-squared with so many degrees of freedom
        if the family is right.
      departure: the response's departure that the residuals ask for, RMS over mean step.
    """

    optimum: Optimum
    covariance: Array
    shared: Array
    shared_covariance: Array
    alone: Array
    alone_covariance: Array
    marginal: Array
    found: Innovations
    statistic: Array
    freedom: Array
    departure: Array


class Bent(NamedTuple):
    """A device whose mean steps are bent by polynomials of the weight, up and down by their own.

    Attributes:
      device: what is bent.
      bends: coefficients over the mean step, shape (cells, 2 x degrees).
      size: the mean step.
      middle: of the range of all weights, which is 1.
    """

    device: Any
    bends: Array
    size: Array
    middle: Array

    @property
    def dw_min(self):
        """The device's."""
        return self.device.dw_min

    def response(self, w):
        """Bent mean steps; the size of a bend is the same at all weights."""
        q_up, q_down = self.device.response(w)
        x = jnp.clip(2 * (w - self.middle), -1, 1)
        shapes = jnp.stack([x, (3 * x**2 - 1) / 2, (5 * x**3 - 3 * x) / 2], axis=-1)
        up, down = jnp.split(self.bends, 2, axis=-1)
        more_up, more_down = jnp.sum(up * shapes, axis=-1), jnp.sum(down * shapes, axis=-1)
        return q_up + self.size * more_up, q_down + self.size * more_down

    def bounds(self):
        """The device's."""
        return self.device.bounds()

    def noise(self, w):
        """The device's."""
        return self.device.noise(w)


def estimate(
    directions: Array, weights: Array, cells: Array, shared: Array, *, name: str, mult_noise: bool
) -> Estimates:
    """Fits a family to traces.

    Args:
      directions: shape (pulses, cells).
      weights: reads in units of their range, shape (pulses + 1, cells).
      cells: coordinates of the cells to start from, shape (cells, p).
      shared: coordinates of the noise to start from, shape (2,).
      name: of the family.
      mult_noise: whether cycle noise scales with the step.
    """
    own, size = cells.shape[1], cells.shape[1] + len(SHARED)
    middle = (jnp.nanmin(weights) + jnp.nanmax(weights)) / 2

    def filter_(point):
        device = device_at(name, mult_noise, point[:, :size])
        if point.shape[1] > size:
            step = (device.response(middle)[0] + device.response(middle)[1]) / 2
            device = Bent(device, point[:, size:], jax.lax.stop_gradient(step), middle)
        return innovations(device, directions, weights, read_std(point[:, size - 1]))

    optimum, prior, alone, alone_covariance = search(filter_, cells, shared)
    point = joined(optimum.cells, optimum.shared)
    expected = optimum.summary.information
    slopes = _derivatives(filter_, point)
    hessian = -slopes.gradient + jax.vmap(jnp.diag)(prior.precision)
    hessian = (hessian + jnp.swapaxes(hessian, 1, 2)) / 2
    least = jnp.linalg.eigvalsh(hessian[:, :own, :own])[:, 0]
    hessian = jnp.where(least[:, None, None] > 0, hessian, expected)
    covariance, shared_covariance = _covariances(hessian, own)
    blocks = expected[:, :own, :own]
    pull = -jnp.einsum(
        "cij,cjis->s", jnp.linalg.inv(blocks), slopes.information[:, :own, :own, own:]
    ) / 2  # fmt: skip
    narrow = jnp.sum(jnp.log(prior.precision[..., :own])) - jnp.sum(jnp.linalg.slogdet(blocks)[1])
    return Estimates(
        optimum=optimum,
        covariance=covariance,
        shared=optimum.shared + shared_covariance @ pull,
        shared_covariance=shared_covariance,
        alone=alone,
        alone_covariance=alone_covariance,
        marginal=jnp.sum(optimum.summary.value) + narrow / 2,
        found=filter_(point),
        **_test_residuals(filter_, point, own, prior),
    )


def _derivatives(filter_, point) -> Summary:
    """Those of `summarise` with respect to every parameter, on a last axis."""
    push = lambda e: jax.jvp(
        lambda at: summarise(filter_, at), (point,), (jnp.broadcast_to(e, point.shape),)
    )[1]
    return jax.vmap(push, out_axes=-1)(jnp.eye(point.shape[1]))


def device_at(name: str, mult_noise: bool, point: Array) -> Any:
    """The device of cells whose coordinates are the rows of `point`, those of the noise last."""
    family = FAMILIES[name]
    parameters = family.parameters.items()
    cells = {key: p.value(point[:, index]) for index, (key, p) in enumerate(parameters)}
    relative = jnp.exp(point[:, len(parameters)])
    if mult_noise:
        return family.device(cells, {"relative_noise": relative})
    up, down = family.size(cells)
    return family.device(cells, {"noise_up": relative * up, "noise_down": relative * down})


def read_std(coordinate: Array) -> Array:
    """Std of a read, not below what six digits of the range can show."""
    return jnp.sqrt(jnp.exp(2 * coordinate) + _FLOOR**2)


def _covariances(curvature: Array, own: int) -> tuple[Array, Array]:
    """Of each cell's own parameters, and of the shared ones."""
    alone = jnp.linalg.inv(curvature[:, :own, :own])
    follows = jnp.einsum("cpq,cqs->cps", alone, curvature[:, :own, own:])
    shared = jnp.linalg.inv(
        jnp.sum(curvature[:, own:, own:], axis=0)
        - jnp.einsum("cqs,cqt->st", curvature[:, :own, own:], follows)
    )
    return alone + jnp.einsum("cps,st,cqt->cpq", follows, shared, follows), shared


def _test_residuals(filter_, point, own, prior) -> dict[str, Array]:
    """Rao's score test: would a bend of the mean steps, the same for all cells, be of use?

    The score of the bends at zero, given that all other parameters are at their optimum, has as its
    variance the information that the other parameters leave over. Directions of which they leave
    nothing are no bends but parameters of the family, and don't count.
    """
    bends = 2 * _DEGREES
    bent = jnp.concatenate([point, jnp.zeros((len(point), bends))], axis=1)
    free = jnp.zeros((len(point), bends))
    prior = Prior(*(jnp.concatenate([part, free], axis=1) for part in prior))
    summary = penalised(summarise(filter_, bent), bent, prior)
    information, score = eliminated(summary, own)
    noise = slice(0, len(SHARED))
    rest = slice(len(SHARED), None)
    taken = jnp.linalg.solve(information[noise, noise], information[noise, rest])
    left = information[rest, rest] - information[rest, noise] @ taken
    score = score[rest] - taken.T @ score[noise]
    before = jnp.sqrt(jnp.sum(jnp.einsum("cii->ci", summary.information), axis=0)[-bends:])
    before = jnp.maximum(before, 1e-30)
    values, vectors = jnp.linalg.eigh(left / before[:, None] / before[None, :])
    kept = values > _LEAST_LEFT
    inverse = jnp.where(kept, 1 / jnp.where(kept, values, 1), 0)
    along = vectors.T @ (score / before)
    wanted = (vectors @ (inverse * along)) / before
    norms = jnp.tile(1 / (2 * jnp.arange(1, _DEGREES + 1) + 1), 2)  # mean squares of Legendre's
    departure = jnp.sqrt(jnp.sum(wanted**2 * norms) / 2)
    return {
        "statistic": jnp.sum(inverse * along**2),
        "freedom": jnp.sum(kept),
        "departure": departure,
    }


def first_look(directions: np.ndarray, weights: np.ndarray) -> tuple[Curve, float, float]:
    """Affine steps of each cell by least squares, and rough stds of cycle noise and of a read.

    A read is the first one plus all steps since, which are linear in the four coefficients if the
    reads in between stand for the hidden weights: their noise averages out.
    """
    columns, added, reads = [], [], []
    for one, trace in zip(directions.T, weights.T, strict=True):
        seen = np.flatnonzero(np.isfinite(trace))
        filled = np.interp(np.arange(len(trace)), seen, trace[seen]) if len(seen) else trace
        up, down = (one > 0).astype(float), (one < 0).astype(float)
        effects = np.stack([up, -up * filled[:-1], -down, -down * filled[:-1]], axis=1)
        sums = np.concatenate([np.zeros((1, 4)), np.cumsum(effects, axis=0)])
        table = np.concatenate([np.ones((len(trace), 1)), sums], axis=1)[seen]
        found = np.linalg.lstsq(table, trace[seen], rcond=1e-10)[0] if len(seen) else np.zeros(5)
        rest = np.diff(filled) - effects @ found[1:]
        columns.append([*found[1:], np.nanmin(trace), np.nanmax(trace)])
        reads.append(max(-np.mean(rest[1:] * rest[:-1]), 1e-8))
        added.append(max(np.var(rest) - 2 * reads[-1], 1e-8))
    curve = Curve(*np.array(columns).T)
    return curve, float(np.sqrt(np.median(added))), float(np.sqrt(np.median(reads)))
