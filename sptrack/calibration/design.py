"""Pulses designed for a fit: the ones whose reads tell most about symmetric points.

The cells of `spt.fit_symmetric_point` are linear in the direction d of a pulse. In units of the
range and from where they start, with unit = dw_min / range,

    w' = w + unit (g - 2 e^k w + d f (1 - l w)),     w* = g / (2 e^k),     x = (g, k, log f, l)

so directions may be anything between -1 and 1 (a share of up pulses), and what reads tell is
differentiable with respect to them. Along the mean trace, D = dw/dx of the hidden weight given the
reads so far, P its variance, r the std of a read, q that of a pulse, A = dw'/dw and F = dw'/dx at
fixed w, a pulse with a read adds the information I of a Kalman filter's innovation:

    D' = A D + F,   P' = A^2 P + q^2,   I += D' D'^T / (P' + r^2),

and the read leaves the shares r^2 / (P' + r^2) of D' and P'.

Of a cell in an array of n, whose law over cells has the covariance S, the variance of w* is taken
to be c^T ((I + 1/S)^-1 + (n <I> + 1/M)^-1) c with c = dw*/dx, the mean over cells, and M what is
known beforehand of the mean cell: what one cell's reads leave open, and what all cells' together
leave open of their mean. Its logarithm is minimised by gradient over tanh of one number per pulse,
and the relaxed directions become pulses whose running sum follows theirs.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sptrack._typing import Array, check_number
from sptrack.calibration.inferred import (
    NOMINAL_ERROR,
    SLOPE_ERROR,
    check_concrete,
    nominal_range,
)
from sptrack.calibration.response_fit import sequence
from sptrack.calibration.zero_shift import check_integer
from sptrack.pulses.apply import check_weight

_KNOWN = np.array([NOMINAL_ERROR[1], SLOPE_ERROR, *NOMINAL_ERROR[2:]]) ** -2.0  # 1 / M
_TELLING = 16  # cells that stand for all, evenly spaced among them
_LEAST = 0.05  # slope of the drift, without which there's no symmetric point, and step
_LEAST_NOISE = 1e-4  # of a read, in units of the range
_LEAST_SPREAD = 1e-3  # over cells, of coordinates


class PulseDesign(NamedTuple):
    """A sequence of pulses, and what the model expects of a fit with it and with others.

    Attributes:
      directions: 1 (up) or -1 (down), shape (num_pulses,).
      expected_error: RMS error of symmetric points over the cells, weight units.
      alternating_error: the same for pulses that alternate.
      burst_error: the same for half of the pulses up, half of them down.

    Example:
      >>> spt.PulseDesign._fields
      ('directions', 'expected_error', 'alternating_error', 'burst_error')
    """

    directions: np.ndarray
    expected_error: float
    alternating_error: float
    burst_error: float


def design_pulses(
    device: Any,
    w: Array,
    num_pulses: int,
    *,
    read_noise_std: float = 0.0,
    steps: int = 150,
    learning_rate: float = 0.1,
) -> PulseDesign:
    """Designs the pulses of `spt.fit_symmetric_point` for cells like those of a device.

    Steps up and down are taken to be affine in the weight, as they are at `w`. The device is one
    whose cells are known, such as a sample of a preset; the design is for other arrays of its kind.

    Args:
      device: a device, at least two cells.
      w: hidden weights to start from, as for `spt.fit_symmetric_point`.
      num_pulses: pulses per cell N, >= 8.
      read_noise_std: std of the noise of one read, weight units, >= 0.
      steps: of the gradient descent (Adam), >= 1.
      learning_rate: of these, > 0.

    Returns:
      A `PulseDesign`, no worse in what the model expects than both other sequences.

    Raises:
      TypeError: if `w` is not floating, a count no integer, or inside jax.jit.
      ValueError: for a number out of range, a device of another shape, or one cell.

    Example:
      >>> spec = spt.presets.ecram()
      >>> like = spt.sample_device(jax.random.key(0), spec, (64,))
      >>> design = spt.design_pulses(like, jnp.full(64, -0.5), 100, read_noise_std=0.06)
      >>> design.directions[:8]
      array([1, 1, 1, 1, 1, 1, 1, 1])
      >>> bool(design.expected_error < 0.9 * design.alternating_error)
      True
    """
    check_concrete("design_pulses", device, w, read_noise_std)
    w = jnp.asarray(w)
    check_weight(device, w)
    check_integer("num_pulses", num_pulses)
    check_integer("steps", steps)
    check_number("design_pulses", "read_noise_std", read_noise_std, 0.0, jnp.inf)
    check_number("design_pulses", "learning_rate", learning_rate, 0.0, jnp.inf, above=True)
    if steps < 1:
        raise ValueError(f"steps must be >= 1, got {steps}.")
    if w.size < 2:
        raise ValueError(f"A design needs at least 2 cells that differ, got {w.size}.")
    alternating = sequence(num_pulses, 0, "up")
    bursts = sequence(num_pulses, num_pulses // 2, "up")
    span = nominal_range(device)
    width = span[1] - span[0]
    with jax.enable_x64(True):
        cells, noise = _coordinates(device, w, width)
        law = jnp.cov(cells.T) + _LEAST_SPREAD**2 * jnp.eye(4)
        some = cells[np.linspace(0, len(cells) - 1, min(_TELLING, len(cells))).astype(int)]
        unit = float(device.dw_min) / width
        read = max(read_noise_std / width, _LEAST_NOISE)
        problem = (some, law, unit, read, unit * noise, w.size)
        designed = _followed(np.asarray(_descend(num_pulses, steps, learning_rate, problem)))
        choices = [designed, alternating, bursts]
        errors = [width * float(jnp.sqrt(_variance(jnp.asarray(d, float), *problem)))
                  for d in choices]  # fmt: skip
    best = int(np.argmin(errors))
    return PulseDesign(choices[best], errors[best], errors[1], errors[2])


def _coordinates(device: Any, w: Array, width: float) -> tuple[Array, Array]:
    """x of every cell at its weight, shape (cells, 4), and the noise of a pulse in dw_min."""

    def halves(w):
        up, down = device.response(w)
        return (up - down) / 2, (up + down) / 2

    (drift, step), (drifting, falling) = jax.jvp(halves, (w,), (jnp.ones_like(w),))
    slope = jnp.maximum(-width * drifting, _LEAST)
    step = jnp.maximum(step, _LEAST)
    x = jnp.stack([drift, jnp.log(slope / 2), jnp.log(step), -width * falling / step], axis=-1)
    noises = device.noise(w) if hasattr(device, "noise") else (None,)
    noisy = noises[0] is not None
    noise = jnp.mean(jnp.stack(jnp.broadcast_arrays(*noises, w)[:2])) if noisy else jnp.zeros(())
    return x.reshape(-1, 4).astype(float), noise


def _moved(x: Array, w: Array, d: Array, unit: Any) -> Array:
    """The mean weight after a pulse."""
    g, k, log_step, fall = x
    return w + unit * (g - 2 * jnp.exp(k) * w + d * jnp.exp(log_step) * (1 - fall * w))


def _information(x: Array, directions: Array, unit: Any, read: Any, noise: Any) -> Array:
    """I of one cell from the start's read and one after every pulse, shape (4, 4)."""

    def pulse(carry, d):
        w, follows, variance, told = carry
        by_x, by_w = jax.grad(_moved, (0, 1))(x, w, d, unit)
        follows, variance = by_w * follows + by_x, by_w**2 * variance + noise**2
        total = variance + read**2
        told = told + jnp.outer(follows, follows) / total
        left = read**2 / total
        return (_moved(x, w, d, unit), left * follows, left * variance, told), None

    start = jnp.zeros(()), jnp.zeros(4), jnp.asarray(read**2, float), jnp.zeros((4, 4))
    return jax.lax.scan(pulse, start, directions)[0][3]


@jax.jit
def _variance(directions, cells, law, unit, read, noise, count) -> Array:
    """Expected variance of symmetric points, in units of the range."""
    told = jax.vmap(_information, (0, None, None, None, None))(cells, directions, unit, read, noise)
    c = jax.vmap(jax.grad(lambda x: x[0] / (2 * jnp.exp(x[1]))))(cells)
    own = jnp.linalg.inv(told + jnp.linalg.inv(law)[None])
    common = jnp.linalg.inv(count * jnp.mean(told, axis=0) + jnp.diag(_KNOWN))
    return jnp.mean(jnp.einsum("ci,cij,cj->c", c, own + common[None], c))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _descend(num_pulses: int, steps: int, learning_rate, problem) -> Array:
    """Relaxed directions after gradient descent from zero, a hair up."""
    tx = optax.adam(learning_rate)

    def loss(point):
        return jnp.log(_variance(jnp.tanh(point), *problem))

    def step(carry, _):
        point, state = carry
        slope = jax.grad(loss)(point)
        updates, state = tx.update(slope, state)
        return (point + updates, state), None

    start = jnp.full(num_pulses, 1e-3)
    return jnp.tanh(jax.lax.scan(step, (start, tx.init(start)), length=steps)[0][0])


def _followed(relaxed: np.ndarray) -> np.ndarray:
    """Directions 1 and -1 whose running sum stays within one of the relaxed ones'."""
    directions, ahead = [], 0.0
    for share in relaxed:
        ahead += share
        directions.append(1 if ahead > 0 else -1)
        ahead -= directions[-1]
    return np.array(directions)
