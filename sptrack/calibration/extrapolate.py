"""Zero-shifting that stops early and extrapolates.

A pair of alternating pulses maps a cell's weight to A w + const, and so does every number of pairs.
With the symmetric point w* as its fixed point, the mean m_k of the reads after the last two pulses
of block k (which removes most of the 2-cycle) follows

    m_{k+1} = w* + rho (m_k - w*) + q xi,      rho = exp(-rate)

per cell: exactly for affine steps (`sptrack.devices.cyclic_law`), near the symmetric point for all.
w* and the logarithm of the rate of every cell, and q and the std of a read, common to all cells,
are estimated from few blocks, with a normal law of the cells (`sptrack.inference.hierarchy`).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sptrack._random import as_key
from sptrack._typing import Array, Key
from sptrack.calibration.inferred import (
    CalibrationResult,
    check_concrete,
    inferred,
    nominal_range,
    relative_slope,
)
from sptrack.calibration.zero_shift import check_integer, zero_shift


class Relaxing(NamedTuple):
    """Cells whose weight returns to `point`, by the share `lost` of the distance per block."""

    dw_min: Any
    point: Array
    lost: Array
    spread: Array

    def response(self, w: Array) -> tuple[Array, Array]:
        """The way back; there is one direction."""
        step = self.lost * (self.point - w)
        return step, -step

    def noise(self, w: Array) -> tuple[Array, Array]:
        """What a block adds."""
        return self.spread, self.spread


def extrapolate_zero_shift(
    key: Key,
    device: Any,
    w: Array,
    num_pulses: int,
    *,
    checkpoints: int = 8,
    first: str = "up",
    read_noise_std: float = 0.0,
    method: str = "exact",
) -> CalibrationResult:
    """Cyclic zero-shifting with few pulses, extrapolated to where it would end.

    Cells are read after the last two pulses of each of `checkpoints` blocks; from their means every
    cell's own recursion is estimated (the module's docstring has the equations). Without noise that
    is exact for affine steps up to the offset of the 2-cycle's midpoint,
    -dw F* (alpha_down - alpha_up) / (4 a), which is zero for equal slopes, however few pulses;
    noise is amplified by about 1 / (1 - exp(-a dw N)).

    Args:
      key: a JAX random key (cycle, write and read noise).
      device: a device.
      w: hidden weights to start from, as for `spt.zero_shift`.
      num_pulses: pulses per cell N, >= 2 per checkpoint; the first block takes what is left over
        when the others are of equal even length.
      checkpoints: blocks, >= 3.
      first: direction of the first pulse, "up" or "down".
      read_noise_std: std of the noise of one read, weight units, >= 0; not told to the estimator.
      method: "exact" or "aggregate", as for `spt.zero_shift`.

    Returns:
      A `CalibrationResult`; its trace are the means of two reads at the checkpoints.

    Raises:
      TypeError: if `key` is no key, `w` not floating, `num_pulses` no integer, or inside jax.jit.
      ValueError: for too few pulses or checkpoints, or what `spt.zero_shift` refuses.

    Example:
      >>> spec = spt.presets.figure_1_soft_bounds()
      >>> device = spt.sample_device(jax.random.key(0), spec, (40,))
      >>> w, truth = jnp.zeros(40), spt.symmetric_point(device)
      >>> few = spt.extrapolate_zero_shift(jax.random.key(1), device, w, 160)
      >>> many = spt.zero_shift(jax.random.key(1), device, w, 1600)
      >>> bool(abs(few.estimate - truth).max() < 0.02 * abs(many.estimate - truth).max())
      True
    """
    check_concrete("extrapolate_zero_shift", key, device, w, read_noise_std)
    for name, value, least in (("checkpoints", checkpoints, 3), ("num_pulses", num_pulses, 1)):
        check_integer(name, value)
        if value < least:
            raise ValueError(f"{name} must be >= {least}, got {value!r}.")
    block = 2 * (num_pulses // (2 * checkpoints))
    if block < 2:
        raise ValueError(
            f"{checkpoints} checkpoints need at least {2 * checkpoints} pulses, got {num_pulses}; "
            "take fewer checkpoints."
        )
    lead = num_pulses - (checkpoints - 1) * block
    options = {"average": "two_point", "read_noise_std": read_noise_std, "method": method}
    begin = zero_shift(
        jax.random.fold_in(as_key(key), 0), device, w, lead, first=first, **options
    )  # fmt: skip
    # An odd first block turns the order around.
    rises = first if lead % 2 == 0 else {"up": "down", "down": "up"}[first]

    def advance(hidden, index):
        found = zero_shift(
            jax.random.fold_in(as_key(key), index), device, hidden, block, first=rises, **options
        )
        return found.weight, found.estimate

    hidden, rest = jax.lax.scan(advance, begin.weight, jnp.arange(1, checkpoints))
    trace = jnp.concatenate([begin.estimate[None], rest])
    span = nominal_range(device)
    unit = block * float(device.dw_min) / (span[1] - span[0])
    nothing, walk = np.zeros(0), unit / 30
    rest = {"error": nothing, "spread": nothing, "noise": np.log(walk), "walk": walk}
    estimate, std_error = inferred(_cells, unit, rest, np.ones(checkpoints - 1), trace, span)
    return CalibrationResult(
        estimate=estimate,
        pulses=jnp.asarray(num_pulses),
        trace=trace,
        weight=hidden,
        std_error=std_error,
        reads=jnp.asarray(2 * checkpoints),
    )


def _cells(point: Array, unit: Any) -> Relaxing:
    """Coordinates g and k of `inferred`; log noise of a block, log std of a read."""
    drift, slope = point[:, 0], relative_slope(point[:, 1])
    one = jnp.ones((), point.dtype)
    return Relaxing(one, drift / slope, -jnp.expm1(-unit * slope), jnp.exp(point[:, 2]))
