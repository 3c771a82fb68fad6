"""Pulses: the only place where physics changes a weight."""

from sptrack.pulses.apply import apply_pulses, mean_update, one_pulse
from sptrack.pulses.coincidence import (
    TrainResult,
    coincidence_update,
    count_coincidences,
    counted_coincidence_update,
    expected_coincidences,
)
from sptrack.pulses.factors import Factors, contract, is_factors, unscaled
from sptrack.pulses.read_train import pulse_and_read
from sptrack.pulses.scored import Draw, draw_coincidences, draw_rounding
from sptrack.pulses.shown import has_write_noise, show, show_written, shows_hidden
from sptrack.pulses.tally import Tally, apply_counted, moved_pulses, tally_of
from sptrack.pulses.train import (
    Lines,
    PulseTrain,
    Saturation,
    plan_lines,
    round_lines,
    saturation,
)
from sptrack.pulses.update import (
    UpdateResult,
    analog_update,
    counted_update,
    round_to_pulses,
    tallied_update,
)

__all__ = [
    "Draw",
    "Factors",
    "Lines",
    "PulseTrain",
    "Saturation",
    "Tally",
    "TrainResult",
    "UpdateResult",
    "analog_update",
    "apply_counted",
    "apply_pulses",
    "coincidence_update",
    "contract",
    "count_coincidences",
    "counted_coincidence_update",
    "counted_update",
    "draw_coincidences",
    "draw_rounding",
    "expected_coincidences",
    "has_write_noise",
    "is_factors",
    "mean_update",
    "moved_pulses",
    "one_pulse",
    "plan_lines",
    "pulse_and_read",
    "round_lines",
    "round_to_pulses",
    "saturation",
    "show",
    "show_written",
    "shows_hidden",
    "tallied_update",
    "tally_of",
    "unscaled",
]
