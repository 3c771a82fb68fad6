"""Pathwise gradients through pulses, against central differences in float64 away from the clip."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import sptrack as spt

SPECS = {
    "soft bounds, additive": spt.SoftBounds(dw_min=0.01, mult_noise=False),
    "soft bounds, multiplicative": spt.SoftBounds(dw_min=0.01, mult_noise=True),
    "constant": spt.ConstantStep(dw_min=0.01),
    "linear": spt.LinearResponse(dw_min=0.01, asymmetry_std=0.1, dw_min_std=0.3),
    "power": spt.PowerResponse(dw_min=0.01, gamma_res=1.7, dw_min_std=0.3),
}
W = [0.1, -0.05, 0.02, 0.12]


@pytest.mark.parametrize("name", SPECS)
def test_mean_update(x64, name):
    """d/d(w, dw, every array of the device); check_grads compares at 1e-5 of step and tolerance."""
    device = spt.sample_device(jax.random.key(0), SPECS[name], (4,))

    @jax.jit
    def moved(w, dw, device):
        return spt.analog_update(jax.random.key(1), device, w, dw, method="mean")

    arguments = (jnp.array(W), jnp.array([0.01, -0.02, 0.03, -0.04]), device)
    check_grads(moved, arguments, order=1, modes=["fwd", "rev"])


@pytest.mark.parametrize("name", SPECS)
def test_aggregate_pulses(x64, name):
    device = spt.sample_device(jax.random.key(0), SPECS[name], (4,))
    counts = jnp.array([1, -2, 3, -12])

    @jax.jit
    def moved(w, device):
        return spt.apply_pulses(jax.random.key(1), device, w, counts, method="aggregate")

    check_grads(moved, (jnp.array(W), device), order=1, modes=["fwd", "rev"])


@pytest.mark.parametrize("name", SPECS)
def test_cells_without_pulses_have_finite_gradients(x64, name):
    """A cell that gets no pulse: d/dw = 1, d/d(anything else) = 0."""
    device = spt.sample_device(jax.random.key(0), SPECS[name], (4,))
    counts = jnp.array([0, -2, 0, 3])

    @jax.jit
    def moved(w, device):
        return spt.apply_pulses(jax.random.key(1), device, w, counts, method="aggregate")[0]

    by_w, by_device = jax.grad(moved, argnums=(0, 1), allow_int=True)(jnp.array(W), device)
    assert by_w.tolist() == [1, 0, 0, 0]
    for leaf in jax.tree.leaves(by_device):
        np.testing.assert_array_equal(leaf, 0)


def test_no_gradient_reaches_a_wanted_change_through_rounding(x64):
    device = spt.sample_device(jax.random.key(0), SPECS["linear"], (4,))

    def total(dw):
        return spt.analog_update(
            jax.random.key(1), device, jnp.array(W), dw, method="aggregate"
        ).sum()

    assert not np.any(jax.grad(total)(jnp.array([0.01, -0.02, 0.03, -0.04])))


def test_exact_pulses_refuse_reverse_mode():
    device = spt.sample_device(jax.random.key(0), SPECS["linear"], (4,))
    counts = jnp.array([1, 2, 3, 4])
    with pytest.raises(ValueError, match="Reverse-mode differentiation does not work"):
        jax.grad(lambda w: jax.jit(spt.apply_pulses)(jax.random.key(1), device, w, counts).sum())(
            jnp.array(W)
        )


def test_symmetric_points_are_differentiable_in_closed_form(x64):
    device = spt.sample_device(jax.random.key(0), SPECS["linear"], (4,))

    def point(up, down):
        return spt.symmetric_point(dataclasses.replace(device, up=up, down=down))

    check_grads(point, (device.up, device.down), order=1, modes=["fwd", "rev"])
