"""Links: optax gradient transformations that training algorithms are made of."""

from sptrack.transforms.analog_state import AnalogState
from sptrack.transforms.apply_device import ApplyDeviceState, AuxiliaryState, apply_device
from sptrack.transforms.arrays import (
    ArrayState,
    array_symmetric_points,
    init_array,
    read,
    relax_array,
    show_array,
    write,
    write_pulses,
)
from sptrack.transforms.chop import ChopState, chop
from sptrack.transforms.counting import (
    PulseCounter,
    RewriteCounter,
    TrainCounter,
    Wide,
    count_rewrite,
    init_counter,
    init_rewrites,
    wide_sum,
    wide_value,
    wide_zero,
)
from sptrack.transforms.lines import lines, num_columns, num_rows, set_lines
from sptrack.transforms.low_pass import LowPassState, low_pass

__all__ = [
    "AnalogState",
    "ApplyDeviceState",
    "ArrayState",
    "AuxiliaryState",
    "ChopState",
    "LowPassState",
    "PulseCounter",
    "RewriteCounter",
    "TrainCounter",
    "Wide",
    "apply_device",
    "array_symmetric_points",
    "chop",
    "count_rewrite",
    "init_array",
    "init_counter",
    "init_rewrites",
    "lines",
    "low_pass",
    "num_columns",
    "num_rows",
    "read",
    "relax_array",
    "set_lines",
    "show_array",
    "wide_sum",
    "wide_value",
    "wide_zero",
    "write",
    "write_pulses",
]
