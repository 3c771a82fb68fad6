"""Write noise: what a read shows is drawn at a write and held until the next."""

import jax
import jax.numpy as jnp
import numpy as np

import sptrack as spt
from tests.support import QUIET, assert_mean, assert_std, same_bits

CELLS = 20_000
SPEC = spt.SoftBounds(dw_min=0.02, write_noise_std=1.5, **QUIET)


def test_a_read_shows_the_hidden_weight_with_write_noise(key):
    device = spt.sample_device(key, SPEC, (CELLS,))
    hidden = jnp.full(CELLS, 0.3)
    shown = np.asarray(spt.pulses.show(key, device, hidden))
    assert_mean(shown, 0.3)
    assert_std(shown, 1.5 * 0.02)
    assert shown.max() > 0.4 or shown.min() < 0.2  # beyond 3 std: not truncated


def test_noise_is_held_until_the_next_write(key):
    device = spt.sample_device(key, SPEC, (CELLS,))
    first, second = jax.random.split(key)
    hidden = jnp.full(CELLS, 0.3)
    shown = spt.pulses.show(first, device, hidden)
    counts = jnp.arange(CELLS) % 3 - 1
    again = spt.pulses.show_written(second, device, hidden, shown, counts)
    written = np.asarray(counts != 0)
    assert same_bits(again[~written], shown[~written])
    assert_std(again[written], 1.5 * 0.02)
    # Fresh noise: uncorrelated with the old, standard error 1 / sqrt(n).
    correlation = np.corrcoef(again[written], shown[written])[0, 1]
    assert abs(correlation) < 4.5 / np.sqrt(written.sum())


def test_pulses_act_on_the_hidden_weight_only(key):
    """Write noise changes no bit of what pulses do, and the other draws don't see its switch."""
    noisy = spt.sample_device(key, SPEC, (50,))
    silent = spt.sample_device(key, spt.SoftBounds(dw_min=0.02, **QUIET), (50,))
    w, counts = jnp.zeros(50), jnp.arange(50) - 25
    assert same_bits(
        spt.apply_pulses(key, noisy, w, counts), spt.apply_pulses(key, silent, w, counts)
    )


def test_without_write_noise_reads_show_the_hidden_weight(key):
    device = spt.sample_device(key, spt.SoftBounds(**QUIET), (3,))
    assert not spt.pulses.has_write_noise(device)
    hidden, old = jnp.array([0.1, 0.2, 0.3]), jnp.zeros(3)
    assert same_bits(spt.pulses.show(key, device, hidden), hidden)
    assert same_bits(
        spt.pulses.show_written(key, device, hidden, old, jnp.array([0, 1, 0])), hidden
    )


def test_reads_keep_the_weights_dtype(key):
    device = spt.sample_device(key, SPEC, (3,))
    assert spt.pulses.show(key, device, jnp.zeros(3, jnp.bfloat16)).dtype == jnp.bfloat16
