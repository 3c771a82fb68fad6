"""What several test files share: comparisons in standard errors, and tables of specs."""

from typing import Any, NamedTuple

import jax
import numpy as np

import sptrack as spt

K_SIGMA = 4.5  # standard errors a statistic may be off: 7e-6 two-sided, for some hundred checks


def assert_mean(samples, expected, *, k=K_SIGMA):
    """The mean of independent samples is `expected`, within k s / sqrt(n)."""
    samples = np.asarray(samples, float).ravel()
    error = samples.std(ddof=1) / np.sqrt(samples.size)
    assert abs(samples.mean() - expected) <= k * error, (samples.mean(), expected, error)


def assert_std(samples, expected, *, k=K_SIGMA):
    """The std of independent samples is `expected`, within k standard errors (delta method)."""
    squares = (np.asarray(samples, float).ravel() - np.mean(samples, dtype=float)) ** 2
    std = np.sqrt(squares.mean())
    error = squares.std(ddof=1) / np.sqrt(squares.size) / (2 * std)
    assert abs(std - expected) <= k * error, (std, expected, error)


def assert_same_law(samples, others, *, k=K_SIGMA):
    """Mean and std of two independent populations agree within k standard errors of their gap."""
    samples, others = np.asarray(samples, float).ravel(), np.asarray(others, float).ravel()
    gap = samples.mean() - others.mean()
    assert abs(gap) <= k * np.sqrt(samples.var() / samples.size + others.var() / others.size), gap
    squares = [(values - values.mean()) ** 2 for values in (samples, others)]
    gap = squares[0].mean() - squares[1].mean()
    assert abs(gap) <= k * np.sqrt(sum(square.var() / square.size for square in squares)), gap


def same_bits(one, other):
    """Whether two arrays, or two trees of arrays, are equal bit for bit."""
    leaves, others = jax.tree.leaves(one), jax.tree.leaves(other)
    return jax.tree.structure(one) == jax.tree.structure(other) and all(
        a.dtype == b.dtype
        and a.shape == b.shape
        and np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(leaves, others, strict=True)
    )


# No variation from cell to cell, no noise: what is left is what a test asks for.
QUIET: dict[str, Any] = {
    "dw_min_dtod": 0.0,
    "dw_min_std": 0.0,
    "up_down_dtod": 0.0,
    "w_max_dtod": 0.0,
    "w_min_dtod": 0.0,
}

# One spec of every kind, everything switched on, cells that differ; weights of order one.
NOISY_SPECS = {
    "constant": spt.ConstantStep(dw_min=0.02, write_noise_std=1.0, corrupt_devices_prob=0.1),
    "soft_bounds": spt.SoftBounds(dw_min=0.02, up_down=0.2, up_down_dtod=0.1),
    "soft_bounds_additive": spt.SoftBounds(dw_min=0.02, mult_noise=False),
    "reference": spt.presets.reram_array_om(reference_mean=0.4, reference_std=0.4),
    "hfo2": spt.presets.reram_array_hfo2(corrupt_devices_prob=0.1, slope_up_dtod=0.2),
    "linear": spt.LinearResponse(
        dw_min=0.02, alpha_up=1.3, tau_max=0.7, asymmetry_std=0.2, center_std=0.2, dw_min_std=0.3
    ),
    "power": spt.PowerResponse(dw_min=0.02, gamma_res=1.7, center_std=0.2, dw_min_std=0.3),
    "exponential": spt.ExponentialResponse(
        dw_min=0.02, gamma_res=1.2, tau=0.8, center_std=0.2, dw_min_std=0.3
    ),
}


class WithoutClosedForm(NamedTuple):
    """A device with the required part of the protocol and bounds only."""

    device: Any

    @property
    def dw_min(self):
        return self.device.dw_min

    def response(self, w):
        return self.device.response(w)

    def bounds(self):
        return self.device.bounds()
