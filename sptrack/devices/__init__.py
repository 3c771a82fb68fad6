"""Devices: specs (distributions over cells) and the devices that are sampled from them."""

from sptrack.devices import presets
from sptrack.devices.affine import AffineDevice
from sptrack.devices.constant_step import ConstantStep, IdealStep
from sptrack.devices.device import (
    Device,
    asymmetric_part,
    bounds,
    is_continuous,
    num_states,
    response,
    sample_device,
    slope_at_symmetric_point,
    symmetric_part,
    symmetric_point,
)
from sptrack.devices.exp_step import ExpDevice, ExpStep
from sptrack.devices.linear_step import LinearStep
from sptrack.devices.piecewise_step import PiecewiseDevice, PiecewiseStep, interpolate
from sptrack.devices.pow_step import PowDevice, PowStep, PowStepReference
from sptrack.devices.pulsed import PulsedSpec
from sptrack.devices.pulsed_device import PulsedDevice
from sptrack.devices.response_families import (
    CenteredDevice,
    ExponentialResponse,
    LinearResponse,
    PowerResponse,
)
from sptrack.devices.retention import (
    Drift,
    DriftClock,
    Retention,
    RetentionSpec,
    is_relaxing,
    relax,
    reset,
    start_clock,
)
from sptrack.devices.soft_bounds import SoftBounds, SoftBoundsReference

__all__ = [
    "AffineDevice",
    "CenteredDevice",
    "ConstantStep",
    "Device",
    "Drift",
    "DriftClock",
    "ExpDevice",
    "ExpStep",
    "ExponentialResponse",
    "IdealStep",
    "LinearResponse",
    "LinearStep",
    "PiecewiseDevice",
    "PiecewiseStep",
    "PowDevice",
    "PowStep",
    "PowStepReference",
    "PowerResponse",
    "PulsedDevice",
    "PulsedSpec",
    "Retention",
    "RetentionSpec",
    "SoftBounds",
    "SoftBoundsReference",
    "asymmetric_part",
    "bounds",
    "interpolate",
    "is_continuous",
    "is_relaxing",
    "num_states",
    "presets",
    "relax",
    "reset",
    "response",
    "sample_device",
    "slope_at_symmetric_point",
    "start_clock",
    "symmetric_part",
    "symmetric_point",
]
