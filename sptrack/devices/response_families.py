"""The response families of the theory papers: linear, power, exponential.

Cells of these families differ only in where they sit: a `center` m shifts the whole response, and
(for the linear family) an `asymmetry` c scales up pulses by 1 + c and down pulses by 1 - c, both
normally distributed over cells. Bounds are where a response vanishes, [m - tau_min, m + tau_max].
Cycle noise is multiplicative. Source: Wu et al. 2024 (2406.12774), ALD; Wu et al. 2025
(2502.06309), appendix K and eqs. (148)-(149); arXiv 2602.21321, eq. (103).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from sptrack._typing import Array, number, spec
from sptrack.devices.affine import AffineDevice
from sptrack.devices.pulsed_device import power
from sptrack.devices.sampling import spreads, switchable


@spec
class LinearResponse:
    """q_up = alpha_up (1+c) (1 - (w-m)/tau_max), q_down = alpha_down (1-c) (1 + (w-m)/tau_min).

    Three published families are special cases: the general linear one (c = 0, m = 0); ALD, F = 1
    and G = (w - w*)/tau (c = 0, m = w*); and c_Lin, F = 1 - c w/tau and G = w/tau - c with
    w* = c tau (m = 0).

    Attributes:
      dw_min: weight change of one pulse where the response is 1; weight units, > 0.
      alpha_up, alpha_down: responses at w = m; > 0.
      tau_max, tau_min: distances from m to the upper and lower bound; weight units, > 0.
      asymmetry_mean, asymmetry_std: distribution of c over cells; the mean in [-1, 1]. A draw
        outside [-1, 1] is clipped to it, because a response is never negative.
      center_mean, center_std: distribution of m over cells; weight units.
      dw_min_std: cycle-to-cycle std of a step, relative to the step.

    Example:
      >>> import jax, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(alpha_up=2.0), ())
      >>> print(spt.symmetric_point(device).round(4))
      0.3333
    """

    dw_min: float = number(0.001, low=0, above=True, symbol="δ", unit="weight")
    alpha_up: float = number(
        1.0,
        low=0,
        above=True,
        symbol="α↑",
        unit="1",
        equation="q↑ = α↑ (1 + c) (1 − (w − m)/τ_max)",
    )
    alpha_down: float = number(
        1.0,
        low=0,
        above=True,
        symbol="α↓",
        unit="1",
        equation="q↓ = α↓ (1 − c) (1 + (w − m)/τ_min)",
    )
    tau_max: float = number(
        1.0, low=0, above=True, symbol="τ_max", unit="weight", equation="upper bound m + τ_max"
    )
    tau_min: float = number(
        1.0, low=0, above=True, symbol="τ_min", unit="weight", equation="lower bound m − τ_min"
    )
    asymmetry_mean: float = number(0.0, low=-1, high=1, symbol="c", unit="1")
    asymmetry_std: float = number(0.0, low=0, symbol="σ_c", unit="1", equation="c ← c + σ_c ξ")
    center_mean: float = number(0.0, symbol="m", unit="weight")
    center_std: float = number(0.0, low=0, symbol="σ_m", unit="weight", equation="m ← m + σ_m ξ")
    dw_min_std: float = number(
        0.0, low=0, symbol="σ", unit="relative", equation="Δw = δ q (1 + σ ξ)"
    )

    @property
    def num_states(self):
        """Number of states, the range over dw_min."""
        return (self.tau_max + self.tau_min) / self.dw_min

    def sample(self, key, shape, dtype) -> AffineDevice:
        """Draws a device; `spt.sample_device` is the checked way to call this."""
        like = jnp.zeros(shape, dtype)
        stds = {"center_std": self.center_std, "asymmetry_std": self.asymmetry_std}
        drawn = spreads(key, stds, like)
        center = self.center_mean + drawn["center_std"]
        asymmetry = jnp.clip(self.asymmetry_mean + drawn["asymmetry_std"], -1, 1)
        up, down = self.alpha_up * (1 + asymmetry), self.alpha_down * (1 - asymmetry)
        return AffineDevice(
            dw_min=jnp.asarray(self.dw_min, dtype),
            up=up * (1 + center / self.tau_max),
            up_slope=up / self.tau_max,
            down=down * (1 - center / self.tau_min),
            down_slope=down / self.tau_min,
            low=center - self.tau_min,
            high=center + self.tau_max,
            relative_noise=switchable(self.dw_min_std, dtype),
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CenteredDevice:
    """A sampled array of power- or exponential-response cells; SP and bounds are center, +-tau.

    Example:
      >>> import jax, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.PowerResponse(center_mean=0.2), ())
      >>> print(spt.symmetric_point(device))
      0.2
    """

    dw_min: Array
    gamma_res: Array
    tau: Array
    center: Array
    relative_noise: Array | None
    family: str = dataclasses.field(metadata={"static": True})

    def response(self, w: Array) -> tuple[Array, Array]:
        """(q_up, q_down) of the family."""
        shape_of = {"power": power, "exponential": _exponential}[self.family]
        z = jnp.clip((w - self.center) / self.tau, -1, 1)
        return shape_of(1 - z, self.gamma_res), shape_of(1 + z, self.gamma_res)

    def noise(self, w: Array) -> tuple[Any, Any]:
        """(std_up, std_down) of one pulse's step over dw_min."""
        if self.relative_noise is None:
            return None, None
        q_up, q_down = self.response(w)
        return self.relative_noise * q_up, self.relative_noise * q_down

    def bounds(self) -> tuple[Array, Array]:
        """(low, high)."""
        return self.center - self.tau, self.center + self.tau

    def symmetric_point(self) -> Array:
        """The center, by the mirror symmetry of both families."""
        return self.center


def _exponential(distance: Array, gamma: Array) -> Array:
    """(e^(gamma distance) - 1) / (e^gamma - 1)."""
    return jnp.expm1(gamma * distance) / jnp.expm1(gamma)


def _sample_centered(spec_: Any, key, shape, dtype, family: str) -> CenteredDevice:
    like = jnp.zeros(shape, dtype)
    offset = spreads(key, {"center_std": spec_.center_std}, like)
    return CenteredDevice(
        dw_min=jnp.asarray(spec_.dw_min, dtype),
        gamma_res=jnp.asarray(spec_.gamma_res, dtype),
        tau=jnp.asarray(spec_.tau, dtype),
        center=spec_.center_mean + offset["center_std"],
        relative_noise=switchable(spec_.dw_min_std, dtype),
        family=family,
    )


@spec
class PowerResponse:
    """q_up = (1 - (w-m)/tau)^gamma_res, q_down = (1 + (w-m)/tau)^gamma_res (Wu25, appendix K).

    Attributes:
      dw_min: weight change of one pulse where the response is 1; weight units, > 0.
      gamma_res: exponent; > 0.
      tau: distance from the symmetric point m to either bound; weight units, > 0.
      center_mean, center_std: distribution of m over cells; weight units.
      dw_min_std: cycle-to-cycle std of a step, relative to the step.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.PowerResponse(gamma_res=2.0), ())
      >>> print(spt.asymmetric_part(device, jnp.array(0.5)))  # (1.5^2 - 0.5^2) / 2
      1.0
    """

    dw_min: float = number(0.001, low=0, above=True, symbol="δ", unit="weight")
    gamma_res: float = number(
        1.0, low=0, above=True, symbol="γ", unit="1", equation="q↑↓ = (1 ∓ (w − m)/τ)^γ"
    )
    tau: float = number(1.0, low=0, above=True, symbol="τ", unit="weight", equation="bounds m ± τ")
    center_mean: float = number(0.0, symbol="m", unit="weight")
    center_std: float = number(0.0, low=0, symbol="σ_m", unit="weight", equation="m ← m + σ_m ξ")
    dw_min_std: float = number(
        0.0, low=0, symbol="σ", unit="relative", equation="Δw = δ q (1 + σ ξ)"
    )

    @property
    def num_states(self):
        """Number of states, the range over dw_min."""
        return 2 * self.tau / self.dw_min

    def sample(self, key, shape, dtype) -> CenteredDevice:
        """Draws a device; `spt.sample_device` is the checked way to call this."""
        return _sample_centered(self, key, shape, dtype, "power")


@spec
class ExponentialResponse:
    """q_up = (e^(g (1-(w-m)/tau)) - 1) / (e^g - 1), q_down mirrored, g = gamma_res (Wu25, 148).

    Attributes:
      dw_min: weight change of one pulse where the response is 1; weight units, > 0.
      gamma_res: curvature g; > 0.
      tau: distance from the symmetric point m to either bound; weight units, > 0.
      center_mean, center_std: distribution of m over cells; weight units.
      dw_min_std: cycle-to-cycle std of a step, relative to the step.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.ExponentialResponse(), ())
      >>> print(spt.symmetric_part(device, jnp.array(0.0)))
      1.0
    """

    dw_min: float = number(0.001, low=0, above=True, symbol="δ", unit="weight")
    gamma_res: float = number(
        1.0,
        low=0,
        above=True,
        symbol="γ",
        unit="1",
        equation="q↑↓ = (exp(γ (1 ∓ (w − m)/τ)) − 1) / (exp(γ) − 1)",
    )
    tau: float = number(1.0, low=0, above=True, symbol="τ", unit="weight", equation="bounds m ± τ")
    center_mean: float = number(0.0, symbol="m", unit="weight")
    center_std: float = number(0.0, low=0, symbol="σ_m", unit="weight", equation="m ← m + σ_m ξ")
    dw_min_std: float = number(
        0.0, low=0, symbol="σ", unit="relative", equation="Δw = δ q (1 + σ ξ)"
    )

    @property
    def num_states(self):
        """Number of states, the range over dw_min."""
        return 2 * self.tau / self.dw_min

    def sample(self, key, shape, dtype) -> CenteredDevice:
        """Draws a device; `spt.sample_device` is the checked way to call this."""
        return _sample_centered(self, key, shape, dtype, "exponential")
