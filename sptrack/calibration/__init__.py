"""Calibration: finding the symmetric point with pulses, on a budget."""

from sptrack.calibration.design import PulseDesign, design_pulses
from sptrack.calibration.extrapolate import extrapolate_zero_shift
from sptrack.calibration.inferred import CalibrationResult
from sptrack.calibration.response_fit import fit_symmetric_point
from sptrack.calibration.zero_shift import ZeroShiftResult, zero_shift

__all__ = [
    "CalibrationResult",
    "PulseDesign",
    "ZeroShiftResult",
    "design_pulses",
    "extrapolate_zero_shift",
    "fit_symmetric_point",
    "zero_shift",
]
