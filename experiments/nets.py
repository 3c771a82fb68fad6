"""The nets of the training experiments."""

import dataclasses
import itertools
import math
from typing import Any, ClassVar

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

    @property
    def test_batch(self) -> int | None:
        """Images tested at once, None for all; an image takes a quarter of a MB in LeNet-5."""
        return 500 if self.convolutions else None


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    """ResNet-18 for small images (He et al. 2016), its last part analog.

    The first convolution is 3 x 3 without a stride and no pooling follows, as is usual for images
    of 32 x 32; then two blocks of two convolutions of 3 x 3 at each of four widths, the mean over
    the image, and the classifier. Every convolution is followed by a normalization over groups of
    16 channels of one image (Wu and He 2018) where the papers have batch normalization: it has as
    many parameters, but no statistics that training would have to carry along, and a population of
    nets stays a pure function of its parameters.

    Attributes:
      classes: number of classes.
      channels: colours of a pixel; images are flat and square.
      width: channels of the first blocks; 2, 4 and 8 times as many in the later ones.
      blocks: residual blocks at each width.
      analog: which layers are on arrays besides the classifier: "block" (the last residual block),
        "stage" (all blocks of the last width), or "classifier" (none).
      weight_range: largest initial weight in conductance units.
      read_path: as in `NetConfig`.
    """

    classes: int
    channels: int = 3
    width: int = 64
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    analog: str = "block"
    weight_range: float = 0.3
    read_path: str = "none"
    test_batch: ClassVar[int | None] = 500


# Of images of 28 x 28: 24 x 24 x 16, 12 x 12 x 16, 8 x 8 x 32, 4 x 4 x 32 = 512.
LENET_5 = NetConfig((512, 128, 10), "tanh", convolutions=(16, 32))


class Net(nnx.Module):
    """Analog layers with an activation in between; inputs are flat, (..., pixels)."""

    def __init__(self, config: NetConfig, rngs: nnx.Rngs):
        shared: dict[str, Any] = {
            "weight_range": config.weight_range,
            "kernel_init": nnx.initializers.glorot_uniform(),
            "reads": _reads(config),
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


class Block(nnx.Module):
    """A residual block: relu(x + f(x)) with two convolutions; 1 x 1 on x where shapes change."""

    def __init__(self, inputs: int, outputs: int, stride: int, rngs: nnx.Rngs):
        self.convolutions = nnx.List(
            [_conv(inputs, outputs, 3, stride, rngs), _conv(outputs, outputs, 3, 1, rngs)]
        )
        self.norms = nnx.List([_norm(outputs, rngs), _norm(outputs, rngs)])
        self.shortcut = self.shortcut_norm = nnx.data(None)
        if (inputs, stride) != (outputs, 1):
            self.shortcut = _conv(inputs, outputs, 1, stride, rngs)
            self.shortcut_norm = _norm(outputs, rngs)

    def __call__(self, x):
        y = nnx.relu(self.norms[0](self.convolutions[0](x)))
        y = self.norms[1](self.convolutions[1](y))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut_norm(self.shortcut(x))))


class ResNet(nnx.Module):
    """The digital net of a `ResNetConfig`; inputs are flat, (..., pixels)."""

    def __init__(self, config: ResNetConfig, rngs: nnx.Rngs):
        width, self.channels = config.width, config.channels
        self.stem, self.stem_norm = _conv(self.channels, width, 3, 1, rngs), _norm(width, rngs)
        blocks, inputs = [], width
        for stage, count in enumerate(config.blocks):
            for number in range(count):
                outputs = width * 2**stage
                blocks.append(Block(inputs, outputs, 2 if stage and not number else 1, rngs))
                inputs = outputs
        self.blocks = nnx.List(blocks)
        init = nnx.initializers.lecun_uniform()
        self.classifier = nnx.Linear(inputs, config.classes, kernel_init=init, rngs=rngs)

    def __call__(self, x):
        batch, side = x.shape[:-1], math.isqrt(x.shape[-1] // self.channels)
        x = x.reshape(-1, side, side, self.channels)
        x = nnx.relu(self.stem_norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.classifier(x.mean((-3, -2))).reshape(*batch, -1)


def make_net(config: NetConfig | ResNetConfig, rngs: nnx.Rngs) -> nnx.Module:
    """The net of a configuration with new weights."""
    if isinstance(config, NetConfig):
        return Net(config, rngs)
    count = sum(config.blocks)
    first = count - {"classifier": 0, "block": 1, "stage": config.blocks[-1]}[config.analog]
    places = ("classifier", *(f"blocks.{number}." for number in range(first, count)))
    return spt.nn.convert(
        ResNet(config, rngs),
        lambda path, _: path.startswith(places),
        weight_range=config.weight_range,
        reads=_reads(config),
    )


def _conv(inputs: int, outputs: int, size: int, stride: int, rngs: nnx.Rngs) -> nnx.Conv:
    init = nnx.initializers.he_uniform()
    return nnx.Conv(inputs, outputs, (size, size), stride, use_bias=False, kernel_init=init,
                    rngs=rngs)  # fmt: skip


def _norm(channels: int, rngs: nnx.Rngs) -> nnx.GroupNorm:
    return nnx.GroupNorm(channels, num_groups=max(channels // 16, 1), rngs=rngs)


def _reads(config: NetConfig | ResNetConfig) -> Any:
    return None if config.read_path == "none" else READ_PATHS[config.read_path]()


def max_pool(x: jax.Array) -> jax.Array:
    """Largest of each 2 x 2, shape (..., height, width, channels); gradients of ties are shared.

    The gradient of a window reduction is slow on a CPU; odd last rows and columns are left out, as
    flax does.
    """
    *batch, height, width, channels = x.shape
    x = x[..., : height // 2 * 2, : width // 2 * 2, :]
    return x.reshape(*batch, height // 2, 2, width // 2, 2, channels).max((-4, -2))
