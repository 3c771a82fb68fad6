"""sptrack: pulsed analog training with tracked symmetric points, as pure JAX functions."""

import importlib
from typing import TYPE_CHECKING

from sptrack import (
    calibration,
    costs,
    devices,
    optimizers,
    periphery,
    plot,
    pulses,
    random,
    results,
    simulate,
    theory,
    transforms,
)
from sptrack.calibration import ZeroShiftResult, zero_shift
from sptrack.devices import (
    ConstantStep,
    Drift,
    ExponentialResponse,
    ExpStep,
    IdealStep,
    LinearResponse,
    LinearStep,
    PiecewiseStep,
    PowerResponse,
    PowStep,
    PowStepReference,
    SoftBounds,
    SoftBoundsReference,
    asymmetric_part,
    bounds,
    num_states,
    presets,
    response,
    sample_device,
    slope_at_symmetric_point,
    symmetric_part,
    symmetric_point,
)
from sptrack.optimizers import (
    ColumnTransfer,
    DigitalBuffer,
    ResidualState,
    agad,
    analog_sgd,
    chopped_ttv2,
    erider,
    erider_released,
    eval_params,
    mixed_precision,
    multi_tile,
    pulse_counts,
    pulse_details,
    read_arrays,
    residual_learning,
    rider,
    tiki_taka,
    ttv2,
    two_stage,
)
from sptrack.pulses import Factors, PulseTrain, analog_update, apply_pulses, coincidence_update
from sptrack.sweep import SweepInterrupted, sweep
from sptrack.transforms import apply_device, chop, low_pass

if TYPE_CHECKING:
    from sptrack import nn

__version__ = "0.1.0"

__all__ = [
    "ColumnTransfer",
    "ConstantStep",
    "DigitalBuffer",
    "Drift",
    "ExpStep",
    "ExponentialResponse",
    "Factors",
    "IdealStep",
    "LinearResponse",
    "LinearStep",
    "PiecewiseStep",
    "PowStep",
    "PowStepReference",
    "PowerResponse",
    "PulseTrain",
    "ResidualState",
    "SoftBounds",
    "SoftBoundsReference",
    "SweepInterrupted",
    "ZeroShiftResult",
    "agad",
    "analog_sgd",
    "analog_update",
    "apply_device",
    "apply_pulses",
    "asymmetric_part",
    "bounds",
    "calibration",
    "chop",
    "chopped_ttv2",
    "coincidence_update",
    "costs",
    "devices",
    "erider",
    "erider_released",
    "eval_params",
    "low_pass",
    "mixed_precision",
    "multi_tile",
    "nn",
    "num_states",
    "optimizers",
    "periphery",
    "plot",
    "presets",
    "pulse_counts",
    "pulse_details",
    "pulses",
    "random",
    "read_arrays",
    "residual_learning",
    "response",
    "results",
    "rider",
    "sample_device",
    "simulate",
    "slope_at_symmetric_point",
    "sweep",
    "symmetric_part",
    "symmetric_point",
    "theory",
    "tiki_taka",
    "transforms",
    "ttv2",
    "two_stage",
    "zero_shift",
]


def __getattr__(name: str):
    """Imports `sptrack.nn` when it is first used: flax takes longer to import than all the rest."""
    if name == "nn":
        return importlib.import_module("sptrack.nn")
    raise AttributeError(f"module 'sptrack' has no attribute {name!r}")
