"""The nets: their shapes, pooling beside flax, and training with a read path."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from experiments.data import Dataset
from experiments.nets import LENET_5, Net, NetConfig, max_pool
from experiments.training import TrainConfig, train_population


def test_lenet_is_that_of_the_papers():
    """Shapes by hand: two convolutions of 5 x 5, two maxima of 2 x 2, 512-128-10."""
    net = Net(LENET_5, nnx.Rngs(0))
    kernels = [layer.kernel.shape for layer in [*net.convolutions, *net.layers]]
    assert kernels == [(5, 5, 1, 16), (5, 5, 16, 32), (512, 128), (128, 10)]
    assert jax.eval_shape(net, jnp.zeros((3, 784))).shape == (3, 10)


@pytest.mark.parametrize("side", [4, 5])
def test_the_maximum_of_2_x_2_is_that_of_flax(side):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, side, side, 3)), jnp.float32)
    np.testing.assert_array_equal(max_pool(x), nnx.max_pool(x, (2, 2), strides=(2, 2)))


@pytest.fixture(scope="module")
def images():
    """Two classes of images of 6 x 6: bright at the top, bright at the bottom."""
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(2), 60).astype(np.int32)
    rows = np.where(labels[:, None] == 0, np.linspace(1, -1, 6), np.linspace(-1, 1, 6))
    pixels = np.repeat(rows, 6, axis=1) + 0.3 * rng.normal(size=(120, 36))
    pixels = pixels.astype(np.float32)
    return Dataset(pixels[:100], labels[:100], pixels[100:], labels[100:], "bars")


NETS = {
    "convolution": NetConfig((4, 2), "tanh", convolutions=(4,)),
    "convolution, table 6": NetConfig((4, 2), "tanh", convolutions=(4,), read_path="table_6"),
    "linear, table 6": NetConfig((36, 2), "tanh", read_path="table_6"),
}


@pytest.mark.parametrize("name", NETS)
def test_learns(name, images, key):
    """By SGD, two members at once; with a read path members and passes have their own noise."""
    config = TrainConfig(NETS[name], epochs=3)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(2))
    found = train_population(lambda key: optax.sgd(0.1), config, images, keys)
    assert np.all(found["test_accuracy"][:, -1] >= 0.9), found
    if name == "linear, table 6":
        exact = dataclasses.replace(config, net=NetConfig((36, 2), "tanh"))
        ideal = train_population(lambda key: optax.sgd(0.1), exact, images, jax.random.clone(keys))
        assert not np.allclose(found["train_loss"], ideal["train_loss"], rtol=1e-4)
        again = train_population(lambda key: optax.sgd(0.1), config, images, jax.random.clone(keys))
        np.testing.assert_array_equal(found["train_loss"], again["train_loss"])
