"""Cells read against a second device that is programmed once: aihwkit's ReferenceUnitCell.

    w = h - r,    r = clip(h* + reference_mean + reference_std xi) + write noise

h is the pulsed device and r what the reference device holds, within the reference's own bounds: a
reference can't reach a symmetric point h* that lies beyond them. It never gets pulses and, being
written once, neither decays nor drifts. Everything about the cell is that of the pulsed device,
moved by r; w needs no axis of parts. Source: aihwkit 1.2, ReferenceUnitCell (there r is whatever
the user writes into the second device).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from sptrack._random import normal
from sptrack._typing import Array, child, number, option, spec
from sptrack.devices.affine import AffineDevice
from sptrack.devices.compound import check_parts, sample_parts
from sptrack.devices.device import bounds, symmetric_point
from sptrack.devices.retention import Retention
from sptrack.devices.sampling import is_off, spreads
from sptrack.devices.soft_bounds import SoftBounds


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class ReferencedDevice:
    """A device in w = h - reference. Affine devices stay affine instead (`AffineDevice.against`).

    Attributes:
      device: the pulsed device, in h.
      reference: r, per cell.

    Example:
      >>> import jax, sptrack as spt
      >>> spec = spt.ReferencePair(device=spt.PowStep())
      >>> print(spt.symmetric_point(spt.sample_device(jax.random.key(0), spec, (2,))))
      [0. 0.]
    """

    device: Any
    reference: Array

    @property
    def dw_min(self) -> Array:
        """That of the pulsed device."""
        return self.device.dw_min

    @property
    def write_noise_std(self) -> Array | None:
        """That of the pulsed device."""
        return getattr(self.device, "write_noise_std", None)

    @property
    def retention(self) -> Retention | None:
        """That of the pulsed device, which relaxes in h."""
        retention = getattr(self.device, "retention", None)
        return None if retention is None else retention.shifted(self.reference)

    def response(self, w: Array) -> tuple[Array, Array]:
        """(q_up, q_down) at h."""
        return self.device.response(w + self.reference)

    def noise(self, w: Array) -> tuple[Any, Any]:
        """(std_up, std_down) at h."""
        if not hasattr(self.device, "noise"):
            return None, None
        return self.device.noise(w + self.reference)

    def bounds(self) -> tuple[Array, Array]:
        """(low, high) of w."""
        low, high = bounds(self.device)
        return low - self.reference, high - self.reference

    def symmetric_point(self) -> Array:
        """h* - r."""
        return symmetric_point(self.device) - self.reference


@spec
class ReferencePair:
    """Cells of two devices, one of which is a fixed reference; see the module's docstring.

    `SoftBoundsReference` and `PowStepReference` are the same with a reference that can hold any
    value.

    Attributes:
      device: spec of the pulsed device.
      reference: spec of the reference device; None for the same as `device`.
      subtract_symmetry_point: whether the reference is programmed to the pulsed device's symmetric
        point (to 0 where it has none), or to 0.
      reference_mean: mean error of the programming; weight units.
      reference_std: cell-to-cell std of the error; weight units.

    Raises:
      TypeError: if a device is no spec of a cell of one device.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.ReferencePair(device=spt.presets.ecram(), reference_std=0.05)
      >>> point = spt.symmetric_point(spt.sample_device(jax.random.key(0), spec, (1000,)))
      >>> bool(jnp.abs(point.mean()) < 0.01), bool(jnp.abs(point.std() - 0.05) < 0.01)
      (True, True)
    """

    device: Any = child(SoftBounds(), equation="w = h − r")  # pyright: ignore[reportCallIssue]
    reference: Any = child(None, equation="None: as device")
    subtract_symmetry_point: bool = option(True, equation="False: no h* in r")
    reference_mean: float = number(
        0.0, symbol="μ_r", unit="weight", equation="r = clip(h* + μ_r + σ_r ξ), in its own bounds"
    )
    reference_std: float = number(0.0, low=0, symbol="σ_r", unit="weight")

    def check(self):
        """Refuses what is no device."""
        check_parts("ReferencePair", "device", (self.device,))
        if self.reference is not None:
            check_parts("ReferencePair", "reference", (self.reference,))

    def sample(self, key, shape, dtype) -> AffineDevice | ReferencedDevice:
        """Draws a device; `spt.sample_device` is the checked way to call this."""
        specs = (self.device, self.device if self.reference is None else self.reference)
        device, holder = sample_parts(key, specs, shape, dtype)
        target = jnp.full(shape, self.reference_mean, dtype)
        target += spreads(key, {"reference_std": self.reference_std}, target)["reference_std"]
        if self.subtract_symmetry_point:
            target += jnp.nan_to_num(symmetric_point(device))
        reference = jnp.clip(target, *bounds(holder)).astype(dtype)
        noise = getattr(holder, "write_noise_std", None)
        if noise is not None and not is_off(noise):
            reference += noise * holder.dw_min * normal(key, "reference write noise", reference)
        if isinstance(device, AffineDevice):
            return device.against(reference)
        return ReferencedDevice(device=device, reference=reference)
