"""Neural-network layers (flax nnx) that know which of their weights are analog."""

from sptrack.nn.linear import AnalogLinear, AnalogParam, FixedScale, labels, map_weight

__all__ = ["AnalogLinear", "AnalogParam", "FixedScale", "labels", "map_weight"]
