"""Devices: specs (distributions over cells) and the devices that are sampled from them."""

from sptrack.devices import presets
from sptrack.devices.affine import AffineDevice
from sptrack.devices.constant_step import ConstantStep, IdealStep
from sptrack.devices.device import (
    Device,
    asymmetric_part,
    bounds,
    is_continuous,
    response,
    sample_device,
    symmetric_part,
    symmetric_point,
)
from sptrack.devices.pulsed import PulsedSpec
from sptrack.devices.response_families import (
    CenteredDevice,
    ExponentialResponse,
    LinearResponse,
    PowerResponse,
)
from sptrack.devices.soft_bounds import SoftBounds, SoftBoundsReference

__all__ = [
    "AffineDevice",
    "CenteredDevice",
    "ConstantStep",
    "Device",
    "ExponentialResponse",
    "IdealStep",
    "LinearResponse",
    "PowerResponse",
    "PulsedSpec",
    "SoftBounds",
    "SoftBoundsReference",
    "asymmetric_part",
    "bounds",
    "is_continuous",
    "presets",
    "response",
    "sample_device",
    "symmetric_part",
    "symmetric_point",
]
