"""Cells made of two devices that only ever get up pulses: aihwkit's OneSidedUnitCell, for PCM.

    W = g_plus - g_minus;    an up pulse raises g_plus, a down pulse raises g_minus

Sooner or later both are full and W can't move. A *refresh* looks at both, with noise of
`refresh_read_noise`, after every `refresh_every`-th write of a cell, and where

    max(g) / w_max > refresh_upper  and  min(g) / w_max > refresh_lower        (w_max: the mean one)

it resets both, w <- b + reset_std xi, and writes the difference again, open loop, on one of them:
|difference| / dw_min pulses, stochastically rounded, at most `refresh_pulses`. So a refreshed
weight is off by what responses differ from 1, by cycle noise and by the cut. Method "mean" does the
same without noise. Refresh pulses are not among those that writes count.

Differences to aihwkit: both devices are drawn, none is a mirrored copy (`copy_inverted`); it sends
the difference as a stochastic train, here it is rounded cell by cell; its refresh reads go through
the whole read path. Source: aihwkit 1.2, OneSidedRPUDevice.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from sptrack._typing import Array, Key, child, number, option, spec
from sptrack.devices.compound import CompoundDevice, check_parts, sample_parts
from sptrack.devices.constant_step import ConstantStep
from sptrack.devices.device import bounds
from sptrack.devices.sampling import switchable


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Refresh:
    """When and how a one-sided pair is refreshed; `OneSidedPair` documents the numbers."""

    upper: Array
    lower: Array
    most_pulses: Array
    read_noise: Array | None
    every: int = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class OneSidedDevice(CompoundDevice):
    """A sampled array of one-sided pairs, parts (plus, minus); see the module's docstring.

    Attributes beyond those of `CompoundDevice`:
      refresh: when full pairs are refreshed, thresholds in weight units; None for never.

    Example:
      >>> import jax, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.presets.pcm_pair(), (3,))
      >>> device.refresh.every, len(device.parts)
      (1, 2)
    """

    refresh: Refresh | None

    @property
    def planes(self) -> int:
        """One per part, and one that counts writes where not every one is followed by a look."""
        return 2 + (self.refresh is not None and self.refresh.every > 1)

    def response(self, w: Array) -> tuple[Array, Array]:
        """(q_up, q_down): the up responses of both parts, over the mean dw_min."""
        plus, minus = self.parts
        up, down = plus.response(w[0])[0], minus.response(w[1])[0]
        return up * (plus.dw_min / self.dw_min), down * (minus.dw_min / self.dw_min)

    def symmetric_point(self) -> Array:
        """Where alternating pulses end: both parts full. NaN with a refresh, which prevents it.

        Pulses of equal mean steps are found on a whole curve of (g_plus, g_minus).
        """
        (_, plus), (_, minus) = map(bounds, self.parts)
        point = plus - minus
        return point if self.refresh is None else jnp.full_like(point, jnp.nan)

    def program(self, target: Array) -> Array:
        """g_plus = max(W, 0), g_minus = max(-W, 0), and no write since the last look."""
        planes = [
            jnp.clip(jnp.maximum(one, 0), *bounds(part))
            for one, part in zip((target, -target), self.parts, strict=True)
        ]
        writes = [jnp.zeros_like(target)] * (self.planes - 2)
        return jnp.stack(planes + writes).astype(target.dtype)

    def deal(self, key: Key | None, w: Array, counts: Array) -> tuple[list[Array], Array]:
        """Up pulses of each part; one more write."""
        del key
        if self.refresh is not None and self.refresh.every > 1:
            w = w.at[2].set((w[2] + 1) % self.refresh.every)
        zero = jnp.zeros_like(counts)
        return [jnp.maximum(counts, zero), jnp.maximum(-counts, zero)], w


@spec
class OneSidedPair:
    """Cells made of two devices that only get up pulses; the module's docstring has the rules.

    Hidden weights have an axis of two parts in front, (g_plus, g_minus): see `VectorCell`.

    Attributes:
      device: spec of both devices, each with cells of its own.
      refresh_every: writes of a cell between two looks whether it is full; 0 never looks.
      refresh_upper, refresh_lower: shares of w_max above which the larger and the smaller device
        must be for a refresh.
      refresh_pulses: most pulses that write the difference.
      refresh_read_noise: std of the noise with which a refresh reads each device; weight units.

    Raises:
      TypeError: if `device` is no spec of a cell of one device.
      ValueError: for a number out of range, or a refresh of devices without w_max.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.OneSidedPair(device=spt.LinearStep(w_min=0.0, dw_min=0.01, dw_min_std=0.0))
      >>> device = spt.sample_device(jax.random.key(0), spec, (2,))
      >>> w = spt.devices.program(device, jnp.zeros(2))
      >>> w = spt.apply_pulses(jax.random.key(1), device, w, jnp.array([5, -5]))
      >>> print(w > 0)
      [[ True False]
       [False  True]]
    """

    device: Any = child(ConstantStep(w_min=0.0), equation="W = g₊ − g₋")  # pyright: ignore[reportCallIssue]
    refresh_every: int = option(0, equation="0: never")
    refresh_upper: float = number(
        0.75, low=0, symbol="θ₊", unit="1", equation="refresh where max(g)/w_max > θ₊ and"
    )
    refresh_lower: float = number(0.25, low=0, symbol="θ₋", unit="1", equation="min(g)/w_max > θ₋")
    refresh_pulses: float = number(31.0, low=0, unit="pulses")
    refresh_read_noise: float = number(0.0, low=0, unit="weight")

    def check(self):
        """Refuses what is no device, and a refresh that has no scale."""
        check_parts("OneSidedPair", "device", (self.device,))
        if type(self.refresh_every) is not int or self.refresh_every < 0:
            raise ValueError(
                f"OneSidedPair: refresh_every must be an integer >= 0, got {self.refresh_every!r}."
            )
        if self.refresh_every and not hasattr(self.device, "w_max"):
            raise ValueError(
                "OneSidedPair: a refresh needs a device with a mean bound w_max, got "
                f"{self.device!r}; set refresh_every=0."
            )

    def sample(self, key, shape, dtype) -> OneSidedDevice:
        """Draws a device; `spt.sample_device` is the checked way to call this."""
        plus, minus = sample_parts(key, (self.device, self.device), shape, dtype)
        refresh = None
        if self.refresh_every:
            refresh = Refresh(
                upper=jnp.asarray(self.refresh_upper * self.device.w_max, dtype),
                lower=jnp.asarray(self.refresh_lower * self.device.w_max, dtype),
                most_pulses=jnp.asarray(self.refresh_pulses, dtype),
                read_noise=switchable(self.refresh_read_noise, dtype),
                every=self.refresh_every,
            )
        one = jnp.ones((), dtype)
        return OneSidedDevice(
            parts=(plus, minus),
            gammas=(one, -one),
            dw_min=(plus.dw_min + minus.dw_min) / 2,
            refresh=refresh,
        )
