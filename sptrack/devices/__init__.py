"""Devices: specs (distributions over cells) and the devices that are sampled from them."""

from sptrack.devices import presets
from sptrack.devices.affine import AffineDevice
from sptrack.devices.compound import (
    CompoundDevice,
    cell_shape,
    combine,
    is_compound,
    program,
)
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
from sptrack.devices.one_sided_pair import OneSidedDevice, OneSidedPair
from sptrack.devices.piecewise_step import PiecewiseDevice, PiecewiseStep, interpolate
from sptrack.devices.pow_step import PowDevice, PowStep, PowStepReference
from sptrack.devices.pulsed import PulsedSpec
from sptrack.devices.pulsed_device import PulsedDevice
from sptrack.devices.reference_pair import ReferencedDevice, ReferencePair
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
from sptrack.devices.vector_cell import VectorCell, VectorDevice

__all__ = [
    "AffineDevice",
    "CenteredDevice",
    "CompoundDevice",
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
    "OneSidedDevice",
    "OneSidedPair",
    "PiecewiseDevice",
    "PiecewiseStep",
    "PowDevice",
    "PowStep",
    "PowStepReference",
    "PowerResponse",
    "PulsedDevice",
    "PulsedSpec",
    "ReferencePair",
    "ReferencedDevice",
    "Retention",
    "RetentionSpec",
    "SoftBounds",
    "SoftBoundsReference",
    "VectorCell",
    "VectorDevice",
    "asymmetric_part",
    "bounds",
    "cell_shape",
    "combine",
    "interpolate",
    "is_compound",
    "is_continuous",
    "is_relaxing",
    "num_states",
    "presets",
    "program",
    "relax",
    "reset",
    "response",
    "sample_device",
    "slope_at_symmetric_point",
    "start_clock",
    "symmetric_part",
    "symmetric_point",
]
