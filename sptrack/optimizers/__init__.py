"""Optimizers: whole training algorithms, one file per algorithm."""

from sptrack.optimizers.analog_sgd import analog_sgd
from sptrack.optimizers.column_transfer import ColumnTransfer
from sptrack.optimizers.erider import erider
from sptrack.optimizers.inspect_state import (
    eval_params,
    pulse_counts,
    read_arrays,
    residual_symmetric_points,
)
from sptrack.optimizers.residual_learning import residual_learning
from sptrack.optimizers.residual_state import ResidualState
from sptrack.optimizers.rider import rider
from sptrack.optimizers.two_stage import two_stage

__all__ = [
    "ColumnTransfer",
    "ResidualState",
    "analog_sgd",
    "erider",
    "eval_params",
    "pulse_counts",
    "read_arrays",
    "residual_learning",
    "residual_symmetric_points",
    "rider",
    "two_stage",
]
