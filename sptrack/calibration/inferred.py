"""What calibration by inference has in common: its result, its units, its search.

Every cell has a symmetric point and some more coordinates; the cells' coordinates have a normal law
that is estimated from all cells (`sptrack.inference.hierarchy`), so that a cell whose own reads say
little is drawn towards the others by as much as its error warrants. Of the mean cell the array's
nominal pulse size and range are known, up to factors; all is in units of that range, in double
precision, whatever the precision of the device.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from sptrack._typing import Array
from sptrack.devices.device import bounds
from sptrack.inference.filter import innovations
from sptrack.inference.hierarchy import Law, hierarchical

_REACH = 2.0
_NOMINAL = 0.0, 1.0, 0.0  # drift, step and fall of the mean cell
NOMINAL_ERROR = np.array([1.0, 1.4, 0.3, 0.5])  # of the first read, and of these
SLOPE_ERROR = 0.7  # of log slope of the mean cell, around soft bounds: the presets' std is 0.75
_RANGE_STD = 12**-0.5  # of a point somewhere in the range
_MEAN_ERROR = np.array([0.05, 0.1])  # of g and k of the mean cell, which is not the cells' mean
_SPREAD = np.array([0.3, 0.2])  # over cells, of g and k
_FLOOR = 1e-7  # of the std of a read: what single precision shows of the range


class CalibrationResult(NamedTuple):
    """Outcome of a calibration by inference: the fields of `ZeroShiftResult` and two more.

    Attributes:
      estimate: estimated symmetric points, of the shape of the cells.
      pulses: pulses spent on each cell, N; scalar integer.
      trace: the reads that the estimate is made of, on a leading axis.
      weight: hidden weights at the end: where the cells physically are.
      std_error: standard errors of the estimates, if cells are as the model says.
      reads: reads spent on each cell; scalar integer.

    Example:
      >>> spt.CalibrationResult._fields
      ('estimate', 'pulses', 'trace', 'weight', 'std_error', 'reads')
    """

    estimate: Array
    pulses: Array
    trace: Array
    weight: Array
    std_error: Array
    reads: Array


def check_concrete(name: str, *values: Any) -> None:
    """Refuses tracers: the inference has its own compiled program, in double precision."""
    if any(isinstance(leaf, Tracer) for value in values for leaf in jax.tree.leaves(value)):
        raise TypeError(
            f"{name} can't be called inside jax.jit, vmap or grad: its inference is a compiled "
            "program in double precision. Call it outside, or use spt.zero_shift."
        )


def nominal_range(device: Any) -> tuple[float, float]:
    """Where the weights of the mean cell lie; -1 to 1 where cells have no bounds."""
    low, high = (float(np.mean(bound)) for bound in bounds(device))
    return (low, high) if np.isfinite(low) and np.isfinite(high) else (-1.0, 1.0)


def within(x: Any, reach: float) -> Any:
    """x, bent so that it stays between -reach and reach."""
    return reach * jnp.tanh(x / reach)


def relative_slope(k: Any) -> Any:
    """Slope of the drift, in units of a step over the range: soft bounds' 2 at k = 0.

    Within a factor e^2 of that: a steeper one can't be told from a cell that is where it wants to
    be and shows nothing but noise.
    """
    return 2 * jnp.exp(within(k, _REACH))


def inferred(
    cells: Callable[[Array, Any], Any],
    unit: float,
    rest: dict[str, Any],
    directions: np.ndarray,
    trace: Array,
    span: tuple[float, float],
) -> tuple[Array, Array]:
    """Symmetric points and their standard errors from reads.

    Reads are taken in units of the range and from their mean, w_r. The first coordinates g and k of
    a cell say that the mean drift of the weight is unit (g - slope(k) (w - w_r)), so that
    w* = w_r + g / slope(k). Those of the mean cell are taken from the mean of all cells' reads.

    Args:
      cells: (coordinates of shape (cells, p + 2), unit) -> device; the last but one is the
        logarithm of its noise, the last one, of the std of a read, is not its own.
      unit: of drifts, in units of the range.
      rest: "error", how well further coordinates of the mean cell are known to be 0, and "spread",
        what is expected of theirs over cells; "noise", the logarithm to start from; "walk", the
        std that is expected of what a pulse's noise adds.
      directions: of the pulses between the reads, shape (pulses,).
      trace: reads, shape (pulses + 1, *cells).
      span: the nominal range.
    """
    width = span[1] - span[0]
    reads = np.asarray(trace, float).reshape(len(trace), -1) / width
    middle = np.nanmean(reads)
    reads = reads - middle
    steps = np.diff(reads, axis=0)
    steps = steps - steps.mean(axis=1, keepdims=True)
    for direction in (-1, 1):  # what is left is noise, not how cells differ
        same = directions == direction
        steps[same] -= steps[same].mean(axis=0) if same.any() else 0
    read = np.sqrt(max(-float(np.nanmean(steps[1:] * steps[:-1])), _FLOOR**2))
    # Among noisy reads the noise of pulses is not seen; more than is expected isn't believed.
    walk = np.sqrt(np.clip(float(np.nanmean(steps**2)) - 2 * read**2, 0, rest["walk"] ** 2))
    root = np.sqrt(reads.shape[1])
    drift, k, uncertain = _mean_cell(
        directions, np.nanmean(reads, axis=1), unit, read / root, walk / root,
        float((span[0] + span[1]) / 2 / width - middle),
    )  # fmt: skip
    mean = np.concatenate([[drift, k], np.zeros(len(rest["error"]))])
    error = np.concatenate([_MEAN_ERROR, rest["error"]])
    spread = np.concatenate([_SPREAD, rest["spread"]])
    noise = np.array([rest["noise"], np.log(max(read, 1e-4))])
    with jax.enable_x64(True):
        found = _program(cells)(directions, reads, mean, error, spread, noise, uncertain, unit)
        point, std = (width * np.asarray(part).reshape(trace.shape[1:]) for part in found)
    # A symmetric point is where its cell can be: in the nominal range, or where it has been.
    low, high = np.fmin(span[0], np.nanmin(trace, 0)), np.fmax(span[1], np.nanmax(trace, 0))
    point = np.clip(point + width * middle, low, high)
    return jnp.asarray(point, trace.dtype), jnp.asarray(std, trace.dtype)


def _mean_cell(
    directions: np.ndarray, mean: np.ndarray, unit: float, read: float, walk: float, place: float
) -> tuple[float, float, float]:
    """g and k of the mean cell by regression, and the error of k.

    The mean read is y_0 + unit (g n - slope sum(y) + step sum(d) - fall sum(d y)), d the
    directions, with noise of the reads and what the pulses' noise adds up to: linear in y_0, g,
    slope, step and fall. Of all but the slope nominal values are known up to `NOMINAL_ERROR`. With
    these integrated out the likelihood is normal in the slope, and often so wide that the slope may
    as well be zero, which would put w* = g / slope anywhere. What is known of it is its order of
    magnitude, a normal law of its logarithm, and that w* is somewhere in the range, whose middle is
    at `place`. Of w* the posterior mean is taken, over a grid of slopes; g and k are those that
    have it.
    """
    blocks = directions.min() > 0
    signs = np.zeros(len(directions)) if blocks else directions
    # Alternating pulses don't tell a fall of the step from a drift, so it is left out.
    falls = signs if np.any(signs[1:] == signs[:-1]) else np.zeros(len(signs))
    before = mean[:-1]
    terms = unit * np.stack([np.ones(len(signs)), signs, -falls * before, -before], axis=1)
    sums = np.concatenate([np.zeros((1, 4)), np.cumsum(terms, axis=0)])
    table = np.concatenate([np.ones((len(mean), 1)), sums, mean[:, None]], axis=1)
    white = _whitened(table, np.hypot(read, _FLOOR), walk)
    products = white.T @ white
    precise, nominal = NOMINAL_ERROR**-2.0, np.array([mean[0], *_NOMINAL])
    others = products[:4, :4] + np.diag(precise)
    by_slope, alone = np.linalg.solve(
        others, np.stack([products[:4, 4], products[:4, 5] + precise * nominal], axis=1)
    ).T
    information = products[4, 4] - products[4, :4] @ by_slope
    score = products[4, 5] - products[4, :4] @ alone

    most = 0.9 * _REACH
    logarithm = np.linspace(-most, most, 401)
    slope = 2 * np.exp(logarithm)
    points = alone[1] / slope - by_slope[1]  # w* = g / slope with the g that goes with the slope
    chance = score * slope - information * slope**2 / 2
    chance -= (logarithm / SLOPE_ERROR) ** 2 / 2 + ((points - place) / _RANGE_STD) ** 2 / 2
    weight = np.exp(chance - chance.max())
    weight = weight / weight.sum()
    point = weight @ points
    std = np.sqrt(weight @ (points - point) ** 2)
    found = logarithm[np.argmin(np.abs(points - point))]
    drift, share = point * 2 * np.exp(found), found / _REACH
    error = std / max(abs(point), std, _FLOOR) / (1 - share**2)
    return float(drift), float(_REACH * np.arctanh(share)), float(error)


def _whitened(columns: np.ndarray, read: float, walk: float) -> np.ndarray:
    """Columns whose noise, white and a random walk from 0, becomes 1: a Kalman filter's errors."""
    level, variance, rows = np.zeros(columns.shape[1]), 0.0, []
    for row in columns:
        total = variance + read**2
        rows.append((row - level) / np.sqrt(total))
        level = level + variance / total * (row - level)
        variance = variance * read**2 / total + walk**2
    return np.array(rows)


@functools.cache
def _program(cells: Callable[[Array, Any], Any]) -> Any:
    """The compiled search for a kind of cells; one for every shape."""

    def find(directions, reads, mean, error, spread, noise, uncertain, unit):
        def filter_(point):
            std = jnp.sqrt(jnp.exp(2 * point[:, -1]) + _FLOOR**2)
            return innovations(cells(point, unit), directions, reads, std)

        known = Law(mean, jnp.diag(error**2))
        found = hierarchical(filter_, known, spread, reads.shape[1], noise)
        drift, k = found.cells[:, 0], found.cells[:, 1]
        slope, growth = jax.jvp(relative_slope, (k,), (jnp.ones_like(k),))
        follows = jnp.stack([1 / slope, -drift * growth / slope**2], axis=1)
        variance = jnp.einsum("ci,cij,cj->c", follows, found.covariance[:, :2, :2], follows)
        return drift / slope, jnp.sqrt(variance + (follows[:, 1] * uncertain) ** 2)

    return jax.jit(find)
