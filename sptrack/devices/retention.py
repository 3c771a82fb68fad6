"""What happens to a weight between two updates: decay, diffusion, drift; and the reset of a cell.

Once per update, each switchable and nothing drawn for what is off (rules of aihwkit 1.2):

    decay:      w <- (w - b) d + b,    d = 1 - 1/t,  t = lifetime (1 + lifetime_dtod xi);  d = 0 for
                t <= 1, no decay for lifetime = 0
    diffusion:  w <- w + rho xi,       rho = |diffusion (1 + diffusion_dtod xi)|
    drift:      w <- w0 (T / t_0)^-nu, T = time since the cell was last pulsed, at least t_0
    reset:      w <- b + reset_std xi, when asked for,  b = reset + reset_dtod xi

always within the bounds. rho, nu, t and the rest value b belong to a cell for life. They are rules
for the cell's own state: with a reference r, in h = w + r (aihwkit applies them to w, adding the
subtracted symmetric point to b). What a read shows moves with the hidden weight and keeps the
noise of the last write (aihwkit redraws it). Left out: aihwkit's decay of changeable strength and
the noise of its drifted reads, which is a read's and not the cell's.
Source: aihwkit 1.2, PulsedDevice and DriftParameter (drift after Oh et al. 2019).
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sptrack._random import normal
from sptrack._typing import Array, Key, child, number, option, spec
from sptrack.devices.compound import is_compound, map_parts
from sptrack.devices.device import bounds
from sptrack.devices.sampling import is_off, spreads, switchable

_SMALLEST = 1e-6  # conductance below which nu grows no further


class DriftClock(NamedTuple):
    """Where the drift of every cell stands.

    Attributes:
      age: time since the cell was last pulsed, over t_0.
      scale: what is left of the weight since then, (T / t_0)^-nu.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> spt.devices.DriftClock(age=jnp.zeros(2), scale=jnp.ones(2))._fields
      ('age', 'scale')
    """

    age: Array
    scale: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class DriftCells:
    """The drift of sampled cells; `Drift` documents the numbers."""

    nu: Array
    nu_std: Array | None
    nu_k: Array | None
    log_g0: Array
    origin: Array
    wg_ratio: Array
    tick: Array
    reset_tol: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Retention:
    """What sampled cells do between updates; None for what is off.

    Attributes:
      decay: factor d per update.
      rest: rest value b of decay and reset; None for 0.
      diffusion: std rho per update.
      reset_std: std of a reset cell around b.
      drift: `DriftCells`.

    Example:
      >>> import jax, sptrack as spt
      >>> spec = spt.SoftBounds(lifetime=100.0)
      >>> print(spt.sample_device(jax.random.key(0), spec, ()).retention.decay)
      0.99
    """

    decay: Array | None = None
    rest: Array | None = None
    diffusion: Array | None = None
    reset_std: Array | None = None
    drift: DriftCells | None = None

    @property
    def is_active(self) -> bool:
        """Whether anything happens between updates."""
        return any(part is not None for part in (self.decay, self.diffusion, self.drift))

    def shifted(self, reference: Array) -> "Retention":
        """The same cells in w = h - reference."""
        rest = -reference if self.rest is None else self.rest - reference
        drift = self.drift
        if drift is not None:
            drift = dataclasses.replace(drift, origin=drift.origin - reference)
        return dataclasses.replace(self, rest=rest, drift=drift)


@spec
class Drift:
    """Drift of the conductance, G ~ T^-nu, for `PulsedSpec.drift`.

        nu = nu (1 + nu_dtod xi) (1 + nu_std xi') - nu_k (log((w - w_offset)/wg_ratio + g_offset)
             - log_g0)

    xi is a cell's for life, xi' new at every update (as if the whole way since the last pulse had
    been gone with it). The weight at which the conductance is zero, w_offset - g_offset wg_ratio,
    does not drift. A pulse that moves a cell by more than `reset_tol` starts its clock again.

    Attributes:
      nu: mean exponent.
      nu_dtod: relative cell-to-cell std of the exponent.
      nu_std: relative std of the exponent from update to update.
      nu_k: growth of the exponent per halving (in e-folds) of the conductance.
      log_g0: logarithm of the conductance for which nu holds.
      w_offset: weight of conductance g_offset = 0; weight units.
      g_offset: conductance at w_offset; conductance units.
      wg_ratio: weight units per conductance unit.
      t_0: time after a pulse at which drift begins; in units of time, > 0.
      interval: time between two updates, in the same units.
      reset_tol: largest movement that leaves the clock alone; weight units.

    Example:
      >>> import sptrack as spt
      >>> spt.presets.pcm(drift=spt.Drift(nu=0.03, nu_dtod=0.2)).drift.nu
      0.03
    """

    nu: float = number(0.0, symbol="ν", unit="1", equation="w = w_0 (T/t_0)^−ν")
    nu_dtod: float = number(0.0, low=0, symbol="σ_ν", unit="relative", equation="ν (1 + σ_ν ξ)")
    nu_std: float = number(0.0, low=0, unit="relative", equation="ν (1 + σ ξ), new every update")
    nu_k: float = number(0.0, symbol="k", unit="1", equation="ν − k (log G − log G_0)")
    log_g0: float = number(0.0, symbol="log G_0", unit="1")
    w_offset: float = number(0.0, unit="weight", equation="G = (w − w_offset)/wg_ratio + g_offset")
    g_offset: float = number(0.0, unit="conductance")
    wg_ratio: float = number(1.0, low=0, above=True, unit="weight/conductance")
    t_0: float = number(1.0, low=0, above=True, symbol="t_0", unit="time")
    interval: float = number(1.0, low=0, symbol="Δt", unit="time", equation="T ← T + Δt per update")
    reset_tol: float = number(1e-7, low=0, unit="weight")

    def sample_cells(self, key: Key, like: Array) -> DriftCells | None:
        """Draws the exponents; None if there is no drift."""
        if is_off(self.nu) and is_off(self.nu_k):
            return None
        deviation = spreads(key, {"drift nu": self.nu_dtod}, like)["drift nu"]
        origin = self.w_offset - self.g_offset * self.wg_ratio
        return DriftCells(
            nu=self.nu * (1 + deviation),
            nu_std=switchable(self.nu_std, like.dtype),
            nu_k=switchable(self.nu_k, like.dtype),
            log_g0=jnp.asarray(self.log_g0, like.dtype),
            origin=jnp.full_like(like, origin),
            wg_ratio=jnp.asarray(self.wg_ratio, like.dtype),
            tick=jnp.asarray(self.interval / self.t_0, like.dtype),
            reset_tol=jnp.asarray(self.reset_tol, like.dtype),
        )


@spec
class RetentionSpec:
    """Fields and sampling rules of retention; the module's docstring has the equations.

    Attributes:
      lifetime: mean time constant of the decay to the rest value, in updates; 0 for no decay.
      lifetime_dtod: relative cell-to-cell std of the lifetime.
      diffusion: std of the random walk per update; weight units.
      diffusion_dtod: relative cell-to-cell std of the diffusion.
      reset: mean rest value, to which cells decay and are reset; weight units.
      reset_dtod: cell-to-cell std of the rest value: weight units, as the published parameters mean
        it (aihwkit's documentation calls it relative).
      reset_dtod_relative: whether this std is relative to `reset` instead.
      reset_std: std of a reset cell around its rest value; weight units.
      drift: a `Drift`, or None.

    Example:
      >>> import sptrack as spt
      >>> spt.devices.RetentionSpec().lifetime
      0.0
    """

    lifetime: float = number(
        0.0, low=0, symbol="t", unit="updates", equation="w ← (w − b)(1 − 1/t) + b"
    )
    lifetime_dtod: float = number(0.0, low=0, unit="relative", equation="t (1 + σ ξ)")
    diffusion: float = number(0.0, low=0, symbol="ρ", unit="weight", equation="w ← w + ρ ξ")
    diffusion_dtod: float = number(0.0, low=0, unit="relative", equation="|ρ (1 + σ ξ)|")
    reset: float = number(0.0, symbol="b", unit="weight")
    reset_dtod: float = number(0.0, low=0, unit="weight", equation="b ← b + σ ξ")
    reset_dtod_relative: bool = option(False, equation="True: b ← b (1 + σ ξ)")
    reset_std: float = number(0.01, low=0, unit="weight", equation="reset cells: w = b + σ ξ")
    drift: Any = child(None)

    def check(self):
        """Refuses a drift that is none."""
        if not isinstance(self.drift, Drift | None):
            raise TypeError(
                f"{type(self).__name__}: drift must be a spt.Drift or None, got {self.drift!r}."
            )

    def sample_retention(self, key: Key, like: Array) -> Retention:
        """Draws what the cells do between updates."""
        names = {
            "lifetime_dtod": self.lifetime_dtod,
            "diffusion_dtod": self.diffusion_dtod,
            "reset_dtod": self.reset_dtod,
        }
        drawn = spreads(key, names, like)
        decay = diffusion = rest = None
        if not is_off(self.lifetime):
            time = self.lifetime * (1 + drawn["lifetime_dtod"])
            decay = jnp.where(time > 1, 1 - 1 / jnp.where(time > 1, time, 1), 0)
            decay = jnp.where(jnp.asarray(self.lifetime) > 0, decay, 1)  # a traced lifetime of 0
        if not is_off(self.diffusion):
            diffusion = jnp.abs(self.diffusion * (1 + drawn["diffusion_dtod"]))
        if not (is_off(self.reset) and is_off(self.reset_dtod)):
            spread = drawn["reset_dtod"]
            spread = self.reset * spread if self.reset_dtod_relative else spread
            rest = self.reset + spread
        return Retention(
            decay=decay,
            rest=rest,
            diffusion=diffusion,
            reset_std=switchable(self.reset_std, like.dtype),
            drift=None if self.drift is None else self.drift.sample_cells(key, like),
        )


def is_relaxing(device: Any) -> bool:
    """Whether anything happens to the device's cells between updates.

    Example:
      >>> import jax, sptrack as spt
      >>> spec = spt.SoftBounds(diffusion=0.01)
      >>> spt.devices.is_relaxing(spt.sample_device(jax.random.key(0), spec, ()))
      True
    """
    if is_compound(device):
        return any(map(is_relaxing, device.parts))
    retention = getattr(device, "retention", None)
    return retention is not None and retention.is_active


def start_clock(device: Any, w: Array) -> Any:
    """The clock of cells that have all just been written; None for a device without drift.

    A `DriftClock`, or for cells of several devices a tuple with the clock of each part.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.SoftBounds(), (2,))
      >>> print(spt.devices.start_clock(device, jnp.zeros(2)))
      None
    """
    if is_compound(device):
        clocks = tuple(start_clock(part, w[k]) for k, part in enumerate(device.parts))
        return None if all(clock is None for clock in clocks) else clocks
    retention = getattr(device, "retention", None)
    if retention is None or retention.drift is None:
        return None
    return DriftClock(age=jnp.zeros_like(w), scale=jnp.ones_like(w))


def relax(
    key: Key, device: Any, w: Array, clock: Any = None, before: Array | None = None
) -> tuple[Array, Any]:
    """What the time between two updates does to the hidden weights: decay, diffusion, drift.

    Args:
      key: a JAX random key; nothing is drawn for what is off.
      device: a device; one without `retention` keeps its weights.
      w: hidden weights after this update's pulses.
      clock: the drift clock, from `start_clock` or the last call.
      before: hidden weights before this update's pulses, for cells that drift; None if there were
        no pulses.

    Returns:
      (hidden weights, clock). Differentiable, pathwise.

    Raises:
      ValueError: if the device drifts and `clock` is None.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.SoftBounds(lifetime=10.0), (2,))
      >>> print(spt.devices.relax(jax.random.key(1), device, jnp.array([0.1, -0.2]))[0])
      [ 0.09 -0.18]
    """
    if not is_relaxing(device):
        return w, clock
    if is_compound(device):
        clocks = [None] * len(device.parts) if clock is None else list(clock)

        def one(key, part, plane, k):
            plane, clocks[k] = relax(
                key, part, plane, clocks[k], None if before is None else before[k]
            )
            return plane

        new = map_parts(key, device, w, one)
        return new, None if clock is None else tuple(clocks)
    retention = device.retention
    new = w
    if retention.decay is not None:
        rest = 0 if retention.rest is None else retention.rest
        new = (new - rest) * retention.decay + rest
    if retention.diffusion is not None:
        new = new + retention.diffusion * normal(key, "diffusion", w)
    if retention.drift is not None:
        if clock is None:
            raise ValueError(
                "the cells of this device drift, and relax needs their clock: begin with "
                "clock = spt.devices.start_clock(device, w)."
            )
        moved = 0 if before is None else jnp.abs(w - before)
        new, clock = _drifted(key, retention.drift, new, clock, moved > retention.drift.reset_tol)
    return jnp.clip(new, *bounds(device)).astype(w.dtype), clock


def _drifted(
    key: Key, cells: DriftCells, w: Array, clock: DriftClock, restarts: Any
) -> tuple[Array, DriftClock]:
    """One interval of drift; cells that were pulsed in it wait for the next."""
    nu = cells.nu
    if cells.nu_std is not None:
        nu = nu * (1 + cells.nu_std * normal(key, "drift exponent", w))
    if cells.nu_k is not None:
        conductance = jnp.maximum((w - cells.origin) / cells.wg_ratio, _SMALLEST)
        nu = nu - cells.nu_k * (jnp.log(conductance) - cells.log_g0)
    age = jnp.where(restarts, 0, clock.age + cells.tick).astype(w.dtype)
    scale = jnp.maximum(age, 1) ** -nu
    left = jnp.where(restarts, 1, scale / clock.scale)
    new = (w - cells.origin) * left + cells.origin
    return new, DriftClock(age, scale.astype(w.dtype))


def reset(key: Key, device: Any, w: Array, where: Any = True) -> Array:
    """Resets cells: w <- b + reset_std xi, within the bounds; all parts of a compound cell.

    Args:
      key: a JAX random key.
      device: a device; one without `retention` is reset to 0.
      w: hidden weights.
      where: which cells, booleans of the cells' shape or one for all.

    Returns:
      The hidden weights, of w's shape.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.SoftBounds(reset=0.1, reset_std=0.0)
      >>> device = spt.sample_device(jax.random.key(0), spec, (2,))
      >>> w = jnp.array([0.3, 0.3])
      >>> print(spt.devices.reset(jax.random.key(1), device, w, jnp.array([True, False])))
      [0.1 0.3]
    """
    if is_compound(device):
        return map_parts(key, device, w, lambda k, part, plane, _: reset(k, part, plane, where))
    retention = getattr(device, "retention", None) or Retention()
    fresh = jnp.zeros_like(w) if retention.rest is None else retention.rest
    if retention.reset_std is not None:
        fresh = fresh + retention.reset_std * normal(key, "reset", w)
    return jnp.where(where, jnp.clip(fresh, *bounds(device)), w).astype(w.dtype)
