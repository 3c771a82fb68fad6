"""The nets of the training experiments."""

import dataclasses
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import sptrack as spt

ACTIVATIONS = {"tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}
READ_PATHS = {"none": spt.periphery.ReadPaths, "table_6": spt.periphery.table_6}


@dataclasses.dataclass(frozen=True)
class NetConfig:
    """A fully connected net, with convolutions in front of it or none.

    Attributes:
      sizes: numbers of units of the fully connected part, from input to output.
      activation: "tanh", "sigmoid" or "relu", between layers.
      weight_range: largest initial weight in conductance units.
      convolutions: output channels of convolutions of 5 x 5 without padding, each followed by the
        activation and the maximum of 2 x 2. Images are square and gray then.
      read_path: "none" (exact products) or "table_6" (converters and noise of arXiv 2602.21321).
    """

    sizes: tuple[int, ...]
    activation: str
    weight_range: float = 0.3
    convolutions: tuple[int, ...] = ()
    read_path: str = "none"


# Of images of 28 x 28: 24 x 24 x 16, 12 x 12 x 16, 8 x 8 x 32, 4 x 4 x 32 = 512.
LENET_5 = NetConfig((512, 128, 10), "tanh", convolutions=(16, 32))


class Net(nnx.Module):
    """Analog layers with an activation in between; inputs are flat, (..., pixels)."""

    def __init__(self, config: NetConfig, rngs: nnx.Rngs):
        shared: dict[str, Any] = {
            "weight_range": config.weight_range,
            "kernel_init": nnx.initializers.glorot_uniform(),
            "reads": None if config.read_path == "none" else READ_PATHS[config.read_path](),
            "rngs": rngs,
        }
        channels, sizes = (1, *config.convolutions), config.sizes
        self.convolutions = nnx.List(
            [
                spt.nn.AnalogConv(inputs, outputs, (5, 5), padding="VALID", **shared)
                for inputs, outputs in itertools.pairwise(channels)
            ]
        )
        self.layers = nnx.List(
            [
                spt.nn.AnalogLinear(inputs, outputs, **shared)
                for inputs, outputs in itertools.pairwise(sizes)
            ]
        )
        self.activation = config.activation

    def __call__(self, x):
        activation = ACTIVATIONS[self.activation]
        if self.convolutions:
            batch, side = x.shape[:-1], math.isqrt(x.shape[-1])
            x = x.reshape(*batch, side, side, 1)
            for layer in self.convolutions:
                x = max_pool(activation(layer(x)))
            x = x.reshape(*batch, -1)
        for layer in self.layers[:-1]:
            x = activation(layer(x))
        return self.layers[-1](x)


def max_pool(x: jax.Array) -> jax.Array:
    """Largest of each 2 x 2, shape (..., height, width, channels); gradients of ties are shared.

    The gradient of a window reduction is slow on a CPU; odd last rows and columns are left out, as
    flax does.
    """
    *batch, height, width, channels = x.shape
    x = x[..., : height // 2 * 2, : width // 2 * 2, :]
    return x.reshape(*batch, height // 2, 2, width // 2, 2, channels).max((-4, -2))
