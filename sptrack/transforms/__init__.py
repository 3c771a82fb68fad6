"""Links: optax gradient transformations that training algorithms are made of."""

from sptrack.transforms.apply_device import ApplyDeviceState, apply_device
from sptrack.transforms.arrays import (
    ArrayState,
    array_symmetric_points,
    columns,
    init_array,
    num_columns,
    read,
    set_columns,
    show_array,
    write,
)
from sptrack.transforms.chop import ChopState, chop
from sptrack.transforms.low_pass import LowPassState, low_pass

__all__ = [
    "ApplyDeviceState",
    "ArrayState",
    "ChopState",
    "LowPassState",
    "apply_device",
    "array_symmetric_points",
    "chop",
    "columns",
    "init_array",
    "low_pass",
    "num_columns",
    "read",
    "set_columns",
    "show_array",
    "write",
]
