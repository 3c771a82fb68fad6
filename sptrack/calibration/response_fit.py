"""Symmetric points from the cells' responses: pulses with a read after each, and a fit.

Where the reads are, the mean steps of a cell are taken to be affine. With w from the mean of all
reads,

    up:    f - l w + (g - kappa w),      down:   f - l w - (g - kappa w),      w* = g / kappa:

f is the mean step, g - kappa w the drift of the weight under alternating pulses. Constant, linear
and soft-bounds cells are like that exactly between hard bounds. Cycle noise is the same for all
pulses. The likelihood of the reads is a Kalman filter's (`sptrack.inference.filter`), so a read is
used for what it tells beyond the ones before it; g, log kappa, log f and l of the cells have a
normal law, estimated from all cells (`sptrack.inference.hierarchy`). In these coordinates, unlike
in w* itself, the likelihood is nearly quadratic even where w* is far from all reads.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sptrack._random import as_key
from sptrack._typing import Array, Key, check_number
from sptrack.calibration.inferred import (
    CalibrationResult,
    check_concrete,
    inferred,
    nominal_range,
    relative_slope,
    within,
)
from sptrack.calibration.zero_shift import check_integer, check_options
from sptrack.pulses.apply import check_weight
from sptrack.pulses.read_train import pulse_and_read

_LEAST = 8  # pulses
_CYCLE = 0.3  # cycle noise that is expected, of a step
_REST = {  # of log f and l / f
    "error": np.array([0.3, 0.5]), "spread": np.array([0.3, 0.3]), "noise": np.log(_CYCLE),
}  # fmt: skip


class Crossing(NamedTuple):
    """Cells by drift and mean step; see the module's docstring. All in units of the range."""

    dw_min: Any
    drift: Array
    slope: Array
    step: Array
    fall: Array
    spread: Array

    def response(self, w: Array) -> tuple[Array, Array]:
        """Steps up and down; not kept from being negative."""
        drift, step = self.drift - self.slope * w, self.step - self.fall * w
        return step + drift, step - drift

    def noise(self, w: Array) -> tuple[Array, Array]:
        """The same for all pulses of all cells."""
        return self.spread, self.spread


def fit_symmetric_point(
    key: Key,
    device: Any,
    w: Array,
    num_pulses: int,
    *,
    burst: int = 0,
    first: str = "up",
    directions: Any = None,
    reads: int = 1,
    read_noise_std: float = 0.0,
) -> CalibrationResult:
    """Estimates symmetric points from reads after every pulse, by a fit of all cells' responses.

    Pulses alternate as in cyclic zero-shifting, after `burst` pulses up and as many down (or down
    and up), which show the steps at many weights. The estimate needs no cell to come near its
    symmetric point. Beside the error that is due to noise, which `std_error` gives, there is one
    where steps are not affine between where the cell has been and the symmetric point.

    Args:
      key: a JAX random key (cycle, write and read noise).
      device: a device.
      w: hidden weights to start from, as for `spt.zero_shift`.
      num_pulses: pulses per cell N, >= 8.
      burst: pulses of the first burst and of the second one, 2 burst <= N.
      first: direction of the first pulse, "up" or "down".
      directions: of all pulses, 1 or -1, shape (N,), instead of `burst` and `first`; those of
        `spt.design_pulses`, for example.
      reads: reads before the first and after every pulse, >= 1, of which the mean is taken. With
        five, N / 10 pulses take as many reads as the mean of zero-shifting's last N / 2.
      read_noise_std: std of the noise of one read, weight units, >= 0; not told to the estimator.

    Returns:
      A `CalibrationResult`; its trace are the (mean) reads before the first and after every pulse.

    Raises:
      TypeError: if `key` is no key, `w` not floating, a count no integer, or inside jax.jit.
      ValueError: for a number out of range or a device of another shape.

    Example:
      >>> spec = spt.presets.figure_1_soft_bounds()
      >>> device = spt.sample_device(jax.random.key(0), spec, (40,))
      >>> w, truth = jnp.full(40, -0.5), spt.symmetric_point(device)
      >>> found = spt.fit_symmetric_point(jax.random.key(1), device, w, 160, burst=25)
      >>> bool(abs(found.estimate - truth).max() < 1e-3)  # spread over cells: 0.1
      True
    """
    check_concrete("fit_symmetric_point", key, device, w, read_noise_std)
    w = jnp.asarray(w)
    check_options(num_pulses, "cyclic", first)
    check_number("fit_symmetric_point", "read_noise_std", read_noise_std, 0.0, jnp.inf)
    check_weight(device, w)
    check_integer("reads", reads)
    if reads < 1:
        raise ValueError(f"reads must be >= 1, got {reads}.")
    if directions is None:
        directions = sequence(num_pulses, burst, first)
    else:
        directions = _checked(directions, num_pulses, burst, first)
    noise = read_noise_std / np.sqrt(reads)  # of the mean of independent reads of one state
    hidden, trace = _pulse_and_read(as_key(key), device, w, directions, noise)
    span = nominal_range(device)
    unit = float(device.dw_min) / (span[1] - span[0])
    rest = _REST | {"walk": _CYCLE * unit}
    estimate, std_error = inferred(_cells, unit, rest, directions, trace, span)
    return CalibrationResult(
        estimate=estimate,
        pulses=jnp.asarray(num_pulses),
        trace=trace,
        weight=hidden,
        std_error=std_error,
        reads=jnp.asarray(reads * (num_pulses + 1)),
    )


_pulse_and_read = jax.jit(pulse_and_read)


def sequence(num_pulses: int, burst: int, first: str) -> np.ndarray:
    """Directions of the pulses: two bursts, then alternation, shape (num_pulses,)."""
    check_integer("burst", burst)
    if num_pulses < _LEAST:
        raise ValueError(f"num_pulses must be >= {_LEAST} for a fit, got {num_pulses}.")
    if not 0 <= 2 * burst <= num_pulses:
        raise ValueError(f"burst must be between 0 and num_pulses / 2, got {burst}.")
    index = np.arange(num_pulses)
    alternating = np.where((index - 2 * burst) % 2 == 0, 1, -1)
    directions = np.where(index < burst, 1, np.where(index < 2 * burst, -1, alternating))
    return directions if first == "up" else -directions


def _checked(directions: Any, num_pulses: int, burst: int, first: str) -> np.ndarray:
    """Directions that were given, if they are some and nothing else says which."""
    found = np.asarray(directions)
    if burst != 0 or first != "up":
        raise ValueError(
            f"Give directions, or burst and first; got directions, burst={burst}, first={first!r}."
        )
    if found.shape != (num_pulses,) or num_pulses < _LEAST or not np.all(np.abs(found) == 1):
        raise ValueError(
            f"directions must be 1 or -1 for each of num_pulses={num_pulses} (>= {_LEAST}) pulses, "
            f"got shape {found.shape} with values {np.unique(found)[:5]}."
        )
    return found.astype(int)


def _cells(point: Array, unit: Any) -> Crossing:
    """Coordinates g and k of `inferred`, log f, l / f; log noise over f, log std of a read."""
    one = jnp.ones((), point.dtype)
    step, fall = unit * jnp.exp(within(point[:, 2], 3.0)), within(point[:, 3], 2.0)
    drift, slope = unit * point[:, 0], unit * relative_slope(point[:, 1])
    return Crossing(one, drift, slope, step, step * fall, step * jnp.exp(point[:, 4]))
