"""Pulses: the only place where physics changes a weight."""

from sptrack.pulses.apply import apply_pulses, mean_update, one_pulse
from sptrack.pulses.factors import Factors, contract, is_factors, unscaled
from sptrack.pulses.shown import has_write_noise, show, show_written
from sptrack.pulses.update import (
    UpdateResult,
    analog_update,
    counted_update,
    round_to_pulses,
)

__all__ = [
    "Factors",
    "UpdateResult",
    "analog_update",
    "apply_pulses",
    "contract",
    "counted_update",
    "has_write_noise",
    "is_factors",
    "mean_update",
    "one_pulse",
    "round_to_pulses",
    "show",
    "show_written",
    "unscaled",
]
