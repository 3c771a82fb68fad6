"""Optimizers: whole training algorithms, one file per algorithm."""

from sptrack.optimizers.agad import agad, tail_rate
from sptrack.optimizers.analog_sgd import analog_sgd
from sptrack.optimizers.chopped_ttv2 import chopped_ttv2
from sptrack.optimizers.column_transfer import ColumnTransfer
from sptrack.optimizers.digital_buffer import DigitalBuffer
from sptrack.optimizers.erider import erider, erider_released
from sptrack.optimizers.inspect_state import (
    eval_params,
    pulse_counts,
    read_arrays,
    residual_symmetric_points,
)
from sptrack.optimizers.mixed_precision import MixedPrecisionState, mixed_precision
from sptrack.optimizers.multi_tile import MultiTileState, multi_tile
from sptrack.optimizers.pulse_details import pulse_details, saturation_report
from sptrack.optimizers.residual_learning import residual_learning
from sptrack.optimizers.residual_state import ResidualState
from sptrack.optimizers.rider import rider
from sptrack.optimizers.tiki_taka import tiki_taka
from sptrack.optimizers.ttv2 import ttv2
from sptrack.optimizers.two_stage import two_stage

__all__ = [
    "ColumnTransfer",
    "DigitalBuffer",
    "MixedPrecisionState",
    "MultiTileState",
    "ResidualState",
    "agad",
    "analog_sgd",
    "chopped_ttv2",
    "erider",
    "erider_released",
    "eval_params",
    "mixed_precision",
    "multi_tile",
    "pulse_counts",
    "pulse_details",
    "read_arrays",
    "residual_learning",
    "residual_symmetric_points",
    "rider",
    "saturation_report",
    "tail_rate",
    "tiki_taka",
    "ttv2",
    "two_stage",
]
