"""Neural-network layers (flax nnx) that know which of their weights are analog."""

from sptrack.nn.conv import AnalogConv, patches
from sptrack.nn.convert import convert
from sptrack.nn.embedding import AnalogEmbedding
from sptrack.nn.factors import factor_grad, value_and_factor_grad
from sptrack.nn.layer import seed_reads
from sptrack.nn.linear import AnalogLinear
from sptrack.nn.parameters import AnalogParam, FixedScale, labels, map_weight
from sptrack.nn.recurrent import AnalogSimpleCell, scan

__all__ = [
    "AnalogConv",
    "AnalogEmbedding",
    "AnalogLinear",
    "AnalogParam",
    "AnalogSimpleCell",
    "FixedScale",
    "convert",
    "factor_grad",
    "labels",
    "map_weight",
    "patches",
    "scan",
    "seed_reads",
    "value_and_factor_grad",
]
