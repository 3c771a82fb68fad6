"""The digital buffer H between a read of P and the pulses on W (Rasch et al. 2024, eqs. 10-13).

Every read fills the cells of the read line; where a whole unit has come together, pulses are sent:

    H <- H + beta d / g                                       (B1)   fill
    n  = clip(trunc(H), +-max_pulses)                         (B2)   release
    H <- momentum H where n != 0                              (B3a)  forget: the rest is dropped
    H <- H - (1 - momentum) n                                 (B3b)  keep the rest
    W gets step n pulses                                      (B4)

g, in weight units, is what one pulse stands for: granularity dw_min of P or of W, over the number
of steps between two reads of a line if so wanted. RLv2 (Wu et al. 2025) leaks as it fills:

    H <- (1 - beta) H + beta d / g                            (B1')

H is kept in units of g. Rasch et al. keep it in weight units for TT-v2 (H g here); the pulses are
the same. Source: Rasch et al. 2024, eqs. (10)-(13); Wu et al. 2025 for the leak.
"""

from typing import Any

import jax.numpy as jnp

from sptrack._random import uniform
from sptrack._typing import Array, Key, number, option, spec
from sptrack.devices.sampling import is_off

UNITS = ("residual", "weight")


@spec
class DigitalBuffer:
    """Settings of the buffer between P and W; the module's docstring has the equations.

    The defaults are those of the released experiments of arXiv 2602.21321 and of the published
    presets of c-TTv2 and AGAD: there, granularity is called auto_granularity.

    Attributes:
      granularity: what a pulse on W stands for, in pulses on the array of `unit`; > 0.
      over_lines: whether granularity is divided by the number of steps between two reads of a line
        (lines of the matrix times `transfer_every`; 1 where whole matrices are read), so that large
        and small matrices transfer at the same rate per step.
      unit: "residual", dw_min of P (c-TTv2, AGAD, E-RIDER), or "weight", dw_min of W (TT-v2, RLv2).
      momentum: share of H that stays after a pulse, in [0, 1].
      forget: whether H <- momentum H after a pulse (B3a), or loses (1 - momentum) n (B3b).
      max_pulses: most pulses per transfer and cell, >= 1.
      step: pulses sent per unit of n, rounded at random if not whole; >= 0.
      leak: whether H decays by 1 - beta at every fill (B1').

    Example:
      >>> import sptrack as spt
      >>> spt.DigitalBuffer.ttv2(momentum=0.0).unit
      'weight'
    """

    granularity: float = number(
        1000.0, low=0, above=True, unit="δ", equation="g = granularity δ / steps between reads"
    )
    over_lines: bool = option(True, equation="False: g = granularity δ")
    unit: str = option("residual", equation="δ of P or of W")
    momentum: float = number(0.0, low=0, high=1, unit="1", equation="(B3a), (B3b)")
    forget: bool = option(True, equation="(B3a) instead of (B3b)")
    max_pulses: float = number(1, low=1, unit="pulses", equation="n = clip(trunc(H), ±max_pulses)")
    step: float = number(1.0, low=0, unit="pulses", equation="step n pulses on W")
    leak: bool = option(False, equation="H ← (1 − β) H + β d/g")

    def check(self):
        """Refuses an unknown unit."""
        if self.unit not in UNITS:
            raise ValueError(f"DigitalBuffer: unit must be one of {UNITS}, got {self.unit!r}.")

    @classmethod
    def ttv2(cls, **changed: Any) -> "DigitalBuffer":
        """The buffer of TT-v2: a threshold of one pulse of W, momentum 0.1.

        Args:
          **changed: fields to change; `granularity` is the published thres_scale.

        Returns:
          A `DigitalBuffer`.

        Example:
          >>> import sptrack as spt
          >>> spt.DigitalBuffer.ttv2().momentum
          0.1
        """
        own: dict[str, Any] = {"granularity": 1.0, "over_lines": False, "unit": "weight"}
        own |= {"momentum": 0.1, **changed}
        return cls(**own)

    @classmethod
    def rlv2(cls, **changed: Any) -> "DigitalBuffer":
        """The buffer of RLv2: leaks, fires one pulse at one pulse of W, and keeps the rest.

        Args:
          **changed: fields to change.

        Returns:
          A `DigitalBuffer`.

        Example:
          >>> import sptrack as spt
          >>> spt.DigitalBuffer.rlv2().leak
          True
        """
        own: dict[str, Any] = {"granularity": 1.0, "over_lines": False, "unit": "weight"}
        own |= {"forget": False, "leak": True, **changed}
        return cls(**own)


DEFAULT = DigitalBuffer()  # pyright: ignore[reportCallIssue]  # it sees no defaults in `number`


def fill(buffer: DigitalBuffer, held: Array, d: Array, beta: Array, unit: Array) -> Array:
    """(B1) or (B1'): H after a read; `unit` is g."""
    kept = (1 - beta) * held if buffer.leak else held
    return kept + beta * d / unit


def release(buffer: DigitalBuffer, held: Array) -> tuple[Array, Array]:
    """(B2) and (B3): (n, H afterwards). n is a floating whole number, NaN where H is."""
    n = jnp.clip(jnp.trunc(held), -buffer.max_pulses, buffer.max_pulses)
    rest = buffer.momentum * held if buffer.forget else held - (1 - buffer.momentum) * n
    return n, jnp.where(n != 0, rest, held)


def pulses_of(key: Key, buffer: DigitalBuffer, n: Array) -> Array:
    """(B4): step n as a whole number, rounded at random; nothing is drawn for a step of 1."""
    if is_off(buffer.step - 1):
        return n
    return jnp.sign(n) * jnp.floor(jnp.abs(buffer.step * n) + uniform(key, "buffer step", n))
