"""The population run: members don't depend on each other, and records mean what they say."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sptrack as spt
from experiments.data import Dataset
from experiments.nets import NetConfig
from experiments.training import TrainConfig, accuracy_of, falling, train_population

SPEC = spt.presets.reram_array_om(reference_mean=0.4, reference_std=0.4)


@pytest.fixture(scope="module")
def blobs():
    """Three well separated classes in four dimensions."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(3, 4))
    labels = np.tile(np.arange(3), 40).astype(np.int32)
    images = (centers[labels] + 0.2 * rng.normal(size=(120, 4))).astype(np.float32)
    return Dataset(images[:90], labels[:90], images[90:], labels[90:], "blobs")


CONFIG = TrainConfig(NetConfig((4, 6, 3), "tanh"), epochs=3)
FACTORIES = {
    "digital": lambda key: optax.sgd(0.1),
    "analog_sgd": lambda key: spt.analog_sgd(0.05, weight_spec=SPEC, key=key),
    "erider": lambda key: spt.erider(
        0.5,
        residual_spec=SPEC,
        weight_spec=SPEC,
        transfer_rate=0.2,
        eta=1.0,
        chop_prob=0.5,
        transfer=spt.ColumnTransfer(),
        key=key,
    ),
}


@pytest.mark.parametrize("name", FACTORIES)
def test_a_member_does_not_depend_on_the_others(name, blobs, key):
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(3))
    together = train_population(FACTORIES[name], CONFIG, blobs, keys)
    alone = train_population(FACTORIES[name], CONFIG, blobs, keys[1:2])
    for record, values in together.items():
        # Matrix products of one and of three members may differ in the last bits, and training
        # carries that on; pulses are whole numbers per cell.
        np.testing.assert_allclose(values[1], alone[record][0], rtol=2e-3, err_msg=record)
    assert not np.array_equal(together["train_loss"][0], together["train_loss"][1])


def test_members_with_numbers_are_runs_with_these_numbers(blobs, key):
    """Rates and offsets as numbers of one program give what they give as constants."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(2))
    numbers = {"rate": [0.05, 0.2], "mean": [0.0, 0.4]}

    def make(key, rate, mean):
        spec = spt.presets.reram_array_om(reference_mean=mean, reference_std=0.4)
        return spt.analog_sgd(rate, weight_spec=spec, key=key)

    together = train_population(make, CONFIG, blobs, keys, numbers=numbers)
    alone = train_population(lambda key: make(key, 0.2, 0.4), CONFIG, blobs, keys[1:])
    for record, values in together.items():
        np.testing.assert_allclose(values[1], alone[record][0], rtol=2e-3, err_msg=record)


def test_digital_training_learns_and_has_no_pulses(blobs, key):
    records = train_population(FACTORIES["digital"], CONFIG, blobs, key[None])
    assert records["test_accuracy"][0, -1] > 0.9
    assert records["train_loss"][0, -1] < records["train_loss"][0, 0]
    assert np.isnan(records["pulses_training"]).all() and np.isnan(records["weight_rms"]).all()


def test_a_loss_is_that_of_its_epoch(blobs, key):
    """Where nothing learns every epoch has the same examples, hence the same loss."""
    config = dataclasses.replace(CONFIG, digital_rate=0.0)
    (losses,) = train_population(lambda key: optax.sgd(0.0), config, blobs, key[None])["train_loss"]
    assert losses[0] > 0.1
    np.testing.assert_allclose(losses, losses[0], rtol=1e-6)


def test_pulses_and_tracking_error_are_recorded(blobs, key):
    records = train_population(FACTORIES["erider"], CONFIG, blobs, key[None])
    training = records["pulses_training"][0]
    assert (np.diff(training) > 0).all()
    assert (records["pulses_calibration"] == 0).all()
    # Symmetric points are off by 0.4 +- 0.4, so a reference at zero has an RMS error near 0.57
    # and any error recorded must be a positive number of that order.
    assert ((records["sp_rms_error"] > 0.01) & (records["sp_rms_error"] < 2)).all()
    # Initial weights are up to 0.3 at most in every output, which scales them: 0.17 if uniform.
    assert ((records["weight_rms"] > 0.05) & (records["weight_rms"] < 1)).all()


def test_a_rate_falls_after_every_share():
    config = TrainConfig(NetConfig((4, 3), "tanh"), epochs=2, batch_size=5, decay_at=(0.25, 0.5))
    data = Dataset(np.zeros((100, 4)), np.zeros(100), np.zeros((1, 4)), np.zeros(1), "zeros")
    rate = falling(8.0, 0.5, config, data)  # 40 steps
    assert [float(rate(t)) for t in (9, 11, 19, 21, 39)] == [8, 4, 4, 2, 2]


@pytest.mark.parametrize("batch", [None, 7, 10, 64])
def test_batches_of_the_test_set_count_every_image_once(batch, key):
    """Beside the share over the whole set in NumPy; 7 and 64 don't divide its 30 images."""
    x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 4
    found = accuracy_of(lambda x, key: x, {"test_x": x, "test_y": y}, key, batch)
    assert float(found) == pytest.approx((x.argmax(1) == y).mean())
