"""Cells whose symmetric points were found with N pulses, as the paper's training runs have them.

The paper does not calibrate the cells that it trains. It zero-shifts another array of 512 x 512
cells (Fig. 1a), takes how far mean and std of the estimates are from those of the true symmetric
points, and gives every trained cell a reference that is off by so much (eq. 105):

    r = w* + mu_r + sigma_r xi,    mu_r = mean(estimate) - mean(w*),    sigma_r = |std - std|

The cells are those of Fig. 1, with dw_min = 2 / states.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sptrack as spt
from experiments.nets import LENET_5
from experiments.settings import SETTINGS, Setting

START = -0.5  # weight where zero-shifting begins


def setting(dataset: str, epochs: int) -> Setting:
    """The net of the calibration figures: LeNet-5 on images of 28 x 28, batch 64; on digits theirs.

    Digital and analog rates stay as they are during the run. Filter and chopper are those of digits
    everywhere. Of LeNet-5's arrays 8 columns are read per step, so that the widest, of 512, is read
    in 64 steps; E-RIDER's W waits for five such passes, 2.7 epochs with a single column.
    """
    train = dataclasses.replace(
        SETTINGS[dataset].train, epochs=epochs, digital_decay=1.0, analog_decay=1.0, decay_at=0.5
    )
    rates = SETTINGS["digits"].rates
    if dataset != "digits":
        train = dataclasses.replace(train, net=LENET_5, batch_size=64)
        rates = dataclasses.replace(rates, reads_per_transfer=8)
    return Setting(train, rates)


def uncalibrated(dw_min: Any) -> Any:
    """The cells of Fig. 1: symmetric points 0.25 +- 0.10."""
    return spt.presets.figure_1_soft_bounds(dw_min=dw_min)


def calibrated(dw_min: Any, mean: Any, std: Any) -> Any:
    """The same cells read against their symmetric points, wrong by mean and std."""
    known = uncalibrated(dw_min)
    fields = {field.name: getattr(known, field.name) for field in dataclasses.fields(known)}
    return spt.SoftBoundsReference(
        **fields, subtract_symmetry_point=True, reference_mean=mean, reference_std=std
    )


def offset(
    num_pulses: int, dw_min: float, *, size: int = 512, seed: int = 0
) -> tuple[float, float]:
    """(mu_r, sigma_r) after `num_pulses` alternating pulses, the first one down.

    Closed form of the cyclic rule (`method="aggregate"`), so any number of pulses costs the same.
    """
    sample, pulse = jax.random.split(jax.random.fold_in(jax.random.key(0), seed))
    device = spt.sample_device(sample, uncalibrated(dw_min), (size, size))
    truth = spt.symmetric_point(device)
    start = jnp.full(truth.shape, START)
    found = spt.zero_shift(pulse, device, start, num_pulses, first="down", method="aggregate")
    estimate, truth = np.asarray(found.estimate), np.asarray(truth)
    return float(estimate.mean() - truth.mean()), float(abs(estimate.std() - truth.std()))
