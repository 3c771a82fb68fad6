"""Calibration: finding the symmetric point with pulses, on a budget."""

from sptrack.calibration.zero_shift import ZeroShiftResult, zero_shift

__all__ = ["ZeroShiftResult", "zero_shift"]
