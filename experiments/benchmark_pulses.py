"""Pulses per second: cyclic zero-shifting of a square array, by what makes the random numbers.

Soft-bounds cells with additive Gaussian cycle noise of 0.3 steps (and without: what is left). The
closed form does all pulses at once, so its rate grows with their number. NumPy's loop and aihwkit
are given the same cells in distribution.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sptrack as spt
from experiments import benchmark_clock as clock
from experiments import study

CELLS: dict[str, Any] = {
    "dw_min": 0.002,
    "dw_min_dtod": 0.3,
    "dw_min_std": 0.3,
    "up_down_dtod": 0.01,
    "w_max": 1.0,
    "w_min": -1.0,
    "mult_noise": False,
}


def programs(size: int, pulses: int, many: int) -> list[clock.Program]:
    """Ours, by key and method, and a loop in NumPy.

    Args:
      size: lines of the array.
      pulses: pulses per cell of one timing.
      many: pulses per cell of the closed form.
    """
    noisy, quiet = spt.SoftBounds(**CELLS), spt.SoftBounds(**CELLS | {"dw_min_std": 0.0})
    fast, bits = spt.random.fast_key(1), spt.random.fast_key(1, normal="bits")
    return [
        ours("exact, default key", noisy, jax.random.key(1), size, pulses),
        ours("exact, fast key", noisy, fast, size, pulses),
        ours("exact, fast key, normals from bits", noisy, bits, size, pulses),
        ours("exact, without noise", quiet, fast, size, pulses),
        ours(f"closed form of {many} pulses, fast key", noisy, fast, size, many, "aggregate"),
        clock.Program(
            "NumPy, one pulse per pass", _numpy_loop(size, 4), 4.0 * size**2, peer="aihwkit"
        ),
    ]


def ours(
    name: str, spec: Any, key: Any, size: int, pulses: int, method: str = "exact"
) -> clock.Program:
    """Zero-shifting of one array; bytes are those of its device and weights, once per pulse."""
    device = jax.jit(lambda k: spt.sample_device(k, spec, (size, size)))(jax.random.key(0))
    start = jnp.zeros((size, size))

    def shift(device, w):
        return spt.zero_shift(key, device, w, pulses, method=method).weight

    compiled = jax.jit(shift).lower(device, start).compile()
    cells = float(size**2)
    per_pass = sum(x.nbytes for x in jax.tree.leaves(device)) + 2 * start.nbytes
    passes = pulses if method == "exact" else 1
    return clock.Program(
        name,
        lambda: clock.finished(compiled(device, start)),
        amount=cells * pulses,
        moved=per_pass * passes / (cells * pulses),
        peer="aihwkit",
    )


def _numpy_loop(size: int, pulses: int) -> Callable[[], Any]:
    """The same pulses in NumPy, one array operation after the other."""
    rng = np.random.default_rng(0)
    shape, c = (size, size), CELLS
    gain = (1 + c["dw_min_dtod"] * rng.standard_normal(shape)).astype(np.float32)
    noise = np.float32(c["dw_min_std"]) * np.abs(gain)
    start = np.zeros(shape, np.float32)

    def call():
        w = start
        for number in range(pulses):
            q = 1 - w if number % 2 == 0 else -(1 + w)
            step = gain * q + noise * rng.standard_normal(shape, np.float32)
            w = np.clip(w + np.float32(c["dw_min"]) * step, -1, 1)
        return w

    return call


def rows(records: study.Records) -> list[dict[str, Any]]:
    """One row per program: ns per pulse of a cell, and pulses per second."""
    table = clock.rows(records, "ns_per_pulse", 1e9)
    return [row | {"pulses_per_s": 1e9 / row["ns_per_pulse"]} for row in table]
