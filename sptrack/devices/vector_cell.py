"""Cells made of a weighted vector of devices: aihwkit's VectorUnitCell.

    W = sum_k gamma_k w_k,    gamma_k = 1 / n unless given

Which part a pulse goes to is the update policy. One *write* is one call of `spt.apply_pulses`,
`spt.analog_update` or of an algorithm, one sample of `spt.coincidence_update`, or one pulse of
`spt.zero_shift`:

    all           every part gets every pulse
    fixed         the part number `fixed_part` gets them all, the others stay where they are
    random        one part, drawn for every write, the same one for all cells
    sequential    one part after the other, write by write

A pulse that raises W raises a part of positive gamma and lowers one of negative gamma (aihwkit
sends it in the same direction to both). dw_min is what a pulse changes of W in the mean, also with
one part at a time (aihwkit counts there in the parts' own steps, so that W moves by 1 / n of what
was wanted). With an even number of parts taken in turn, alternating pulses go up on the same parts
and down on the same others, for ever: zero-shift such cells by the stochastic scheme.
Source: aihwkit 1.2, VectorRPUDevice.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from sptrack._random import purpose_key
from sptrack._typing import Array, Key, child, number, option, spec
from sptrack.devices.compound import CompoundDevice, check_parts, sample_parts, total
from sptrack.devices.device import bounds, symmetric_point
from sptrack.devices.soft_bounds import SoftBounds

_DEFAULT = SoftBounds()  # pyright: ignore[reportCallIssue]  # it sees no defaults in `number`
POLICIES = ("all", "fixed", "random", "sequential")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class VectorDevice(CompoundDevice):
    """A sampled array of such cells; see the module's docstring.

    Attributes beyond those of `CompoundDevice`:
      policy: "all", "fixed", "random" or "sequential".
      fixed_part: number of the part that "fixed" means.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.VectorCell(policy="sequential")
      >>> device = spt.sample_device(jax.random.key(0), spec, (3,))
      >>> spt.devices.program(device, jnp.zeros(3)).shape  # and a plane for whose turn it is
      (3, 3)
    """

    policy: str = dataclasses.field(metadata={"static": True})
    fixed_part: int = dataclasses.field(metadata={"static": True})

    @property
    def planes(self) -> int:
        """One per part, and one for whose turn it is with the policy "sequential"."""
        return len(self.parts) + (self.policy == "sequential")

    def response(self, w: Array) -> tuple[Array, Array]:
        """(q_up, q_down): mean change of W per pulse over dw_min, every part's turn alike."""
        up, down = [], []
        shares = _shares(self.policy, self.fixed_part, len(self.parts))
        for k, (share, gamma, part) in enumerate(zip(shares, self.gammas, self.parts, strict=True)):
            q_up, q_down = part.response(w[k])
            scale = share * jnp.abs(gamma) * part.dw_min / self.dw_min
            up.append(scale * jnp.where(gamma > 0, q_up, q_down))
            down.append(scale * jnp.where(gamma > 0, q_down, q_up))
        return total(up), total(down)

    def symmetric_point(self) -> Array:
        """sum_k gamma_k w_k*; with "fixed", the parts that stay count with where they rest."""
        shares = _shares(self.policy, self.fixed_part, len(self.parts))
        points = [
            symmetric_point(part) if share else _rest(part)
            for share, part in zip(shares, self.parts, strict=True)
        ]
        return total(gamma * point for gamma, point in zip(self.gammas, points, strict=True))

    def program(self, target: Array) -> Array:
        """All parts moved alike, or only the fixed one; what a bound cuts off goes to others."""
        shares = _shares(self.policy, self.fixed_part, len(self.parts))
        cells = list(zip(shares, self.gammas, self.parts, strict=True))
        weight = total(jnp.abs(gamma) for share, gamma, _ in cells if share)
        planes = [
            jnp.clip(target * jnp.sign(gamma) / weight, *bounds(part)) if share else _rest(part)
            for share, gamma, part in cells
        ]
        for k, (share, gamma, part) in enumerate(cells):
            if share:
                left = target - self.combined(jnp.stack(planes))
                planes[k] = jnp.clip(planes[k] + left / gamma, *bounds(part))
        turn = [jnp.zeros_like(target)] * (self.planes - len(self.parts))
        return jnp.stack(planes + turn).astype(target.dtype)

    def deal(self, key: Key | None, w: Array, counts: Array) -> tuple[list[Array], Array]:
        """Pulses of each part, and whose turn it is next."""
        count = len(self.parts)
        if self.policy == "random" and key is not None:
            drawn = jax.random.randint(purpose_key(key, "part"), (), 0, count, jnp.int32)
            chosen = [drawn == k for k in range(count)]
        elif self.policy == "sequential":
            chosen = [w[count] == k for k in range(count)]
            w = w.at[count].set((w[count] + 1) % count)
        else:
            chosen = [bool(share) for share in _shares(self.policy, self.fixed_part, count)]
        if self.policy == "random" and key is None:
            counts = counts / count
        zero = jnp.zeros_like(counts)
        signed = [jnp.where(gamma > 0, counts, -counts) for gamma in self.gammas]
        return [jnp.where(c, n, zero) for c, n in zip(chosen, signed, strict=True)], w


def _shares(policy: str, fixed_part: int, count: int) -> list[float]:
    """Share of the pulses that each part gets in the long run."""
    if policy == "fixed":
        return [float(k == fixed_part) for k in range(count)]
    return [1.0 if policy == "all" else 1 / count] * count


def _rest(part: Any) -> Array:
    """Where a part rests that gets no pulses: at 0, or at the bound next to it."""
    low, high = bounds(part)
    return jnp.clip(jnp.zeros_like(low), low, high)


@spec
class VectorCell:
    """Cells made of several devices, W = sum_k gamma_k w_k; the module's docstring has the rules.

    Hidden weights have an axis of parts in front: begin with `spt.devices.program(device, target)`
    and see the cells' weights by `spt.devices.combine(device, w)`. Optimizers do this by
    themselves. What a read shows has the write noise of all parts, redrawn at every write
    (aihwkit redraws that of the written part).

    Attributes:
      parts: specs of the parts, each a cell of one device, a tuple.
      gammas: weights of the parts in W, a tuple of numbers that are not 0; None for 1 / n each.
      policy: which parts get a write's pulses: "all", "fixed", "random" or "sequential".
      fixed_part: number of the part that gets all pulses with the policy "fixed".

    Raises:
      TypeError: if a part is no spec of a cell of one device.
      ValueError: for an unknown policy, a `fixed_part` that there isn't, or wrong gammas.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.VectorCell(parts=(spt.presets.ecram(),) * 4, policy="random")
      >>> device = spt.sample_device(jax.random.key(0), spec, (3,))
      >>> w = spt.devices.program(device, jnp.array([0.0, 0.1, 0.2]))
      >>> w = spt.apply_pulses(jax.random.key(1), device, w, jnp.array([5, 0, -5]))
      >>> w.shape, spt.devices.combine(device, w).shape
      ((4, 3), (3,))
    """

    parts: tuple = child((_DEFAULT, _DEFAULT), equation="W = Σ γ_k w_k")
    gammas: tuple | None = number(None, symbol="γ_k", unit="1", equation="None: γ_k = 1/n")
    policy: str = option("all", equation="all, fixed, random or sequential")
    fixed_part: int = option(0)

    def check(self):
        """Refuses parts, gammas and policies that make no cell."""
        check_parts("VectorCell", "parts", self.parts)
        if self.policy not in POLICIES:
            raise ValueError(f"VectorCell: policy must be one of {POLICIES}, got {self.policy!r}.")
        count = len(self.parts)
        if type(self.fixed_part) is not int or not 0 <= self.fixed_part < count:
            raise ValueError(
                f"VectorCell: fixed_part must be an integer from 0 to {count - 1}, got "
                f"{self.fixed_part!r}."
            )
        if self.gammas is None:
            return
        zeros = [g for g in jax.tree.leaves(self.gammas) if isinstance(g, int | float) and g == 0]
        if not isinstance(self.gammas, tuple) or len(self.gammas) != count or zeros:
            raise ValueError(
                f"VectorCell: gammas must be a tuple of {count} numbers that are not 0, one per "
                f"part, got {self.gammas!r}."
            )

    def sample(self, key, shape, dtype) -> VectorDevice:
        """Draws a device; `spt.sample_device` is the checked way to call this."""
        parts = sample_parts(key, self.parts, shape, dtype)
        gammas = self.gammas or (1 / len(parts),) * len(parts)
        gammas = tuple(jnp.asarray(gamma, dtype) for gamma in gammas)
        shares = _shares(self.policy, self.fixed_part, len(parts))
        steps = [
            share * jnp.abs(gamma) * part.dw_min
            for share, gamma, part in zip(shares, gammas, parts, strict=True)
        ]
        return VectorDevice(
            parts=parts,
            gammas=gammas,
            dw_min=total(steps),
            policy=self.policy,
            fixed_part=self.fixed_part,
        )
