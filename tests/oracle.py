"""What pulses do to a cell, once more: plain NumPy, float64, one pulse at a time, no sptrack.

Steps `s_up`, `s_down`, `dw` are in weight units. `step(w, up, xi)` is one pulse on every cell, with
the noise `xi` of that pulse. Sources: aihwkit 1.2 (constant, soft bounds with reference; the bound
is the state's, h = w + reference), Wu et al. 2025, appendix K (linear, power, exponential).
"""

from typing import Any, NamedTuple

import numpy as np


class ConstantCells(NamedTuple):
    s_up: Any
    s_down: Any
    b_max: Any
    b_min: Any
    sigma: float = 0.0

    def step(self, w, up, xi):
        moved = np.where(up, w + self.s_up * (1 + self.sigma * xi), w)
        moved = np.where(up, moved, w - self.s_down * (1 + self.sigma * xi))
        return np.clip(moved, self.b_min, self.b_max)


class SoftBoundsCells(NamedTuple):
    s_up: Any
    s_down: Any
    b_max: Any
    b_min: Any
    reference: Any = 0.0
    sigma: float = 0.0
    mult: bool = True

    def step(self, w, up, xi):
        h = w + self.reference
        near_top = np.divide(h, self.b_max, out=np.zeros_like(h), where=self.b_max > 0)
        near_bottom = np.divide(h, self.b_min, out=np.zeros_like(h), where=self.b_min < 0)
        rise, fall = 1 - near_top, 1 - near_bottom
        if self.mult:
            rise, fall = rise * (1 + self.sigma * xi), fall * (1 + self.sigma * xi)
        else:
            rise, fall = rise + self.sigma * xi, fall + self.sigma * xi
        h = np.where(up, h + self.s_up * rise, h - self.s_down * fall)
        return np.clip(h, self.b_min, self.b_max) - self.reference

    def symmetric_state(self):
        """h* solves s_up (1 - h/b_max) = s_down (1 - h/b_min)."""
        return (self.s_up - self.s_down) / (self.s_up / self.b_max - self.s_down / self.b_min)


class LinearCells(NamedTuple):
    dw: float
    alpha_up: float
    alpha_down: float
    tau_max: float
    tau_min: float
    c: float = 0.0
    m: float = 0.0
    sigma: float = 0.0

    def step(self, w, up, xi):
        q_up = self.alpha_up * (1 + self.c) * (1 - (w - self.m) / self.tau_max)
        q_down = self.alpha_down * (1 - self.c) * (1 + (w - self.m) / self.tau_min)
        moved = w + self.dw * np.where(up, q_up, -q_down) * (1 + self.sigma * xi)
        return np.clip(moved, self.m - self.tau_min, self.m + self.tau_max)


class PowerCells(NamedTuple):
    dw: float
    gamma: float
    tau: float
    m: float = 0.0
    sigma: float = 0.0

    def step(self, w, up, xi):
        side = np.where(up, -1.0, 1.0)
        q = np.maximum(1 + side * (w - self.m) / self.tau, 0) ** self.gamma
        moved = w - side * self.dw * q * (1 + self.sigma * xi)
        return np.clip(moved, self.m - self.tau, self.m + self.tau)


class ExponentialCells(NamedTuple):
    dw: float
    gamma: float
    tau: float
    m: float = 0.0
    sigma: float = 0.0

    def step(self, w, up, xi):
        side = np.where(up, -1.0, 1.0)
        exponent = self.gamma * (1 + side * (w - self.m) / self.tau)
        q = (np.exp(exponent) - 1) / (np.exp(self.gamma) - 1)
        moved = w - side * self.dw * q * (1 + self.sigma * xi)
        return np.clip(moved, self.m - self.tau, self.m + self.tau)


def apply(cells, w, counts, noise=None):
    """The weights after `counts` pulses; `noise[k]` is that of every cell's pulse number k."""
    w, counts = np.array(w, float), np.asarray(counts)
    for k in range(np.abs(counts).max(initial=0)):
        new = cells.step(w, counts > 0, np.zeros_like(w) if noise is None else noise[k])
        w = np.where(k < np.abs(counts), new, w)
    return w


def alternate(cells, w, num_pulses, *, first_up):
    """The weights after each of `num_pulses` pulses of alternating direction on all cells."""
    trace, w = [], np.array(w, float)
    for k in range(num_pulses):
        w = cells.step(w, np.full(w.shape, (k % 2 == 0) == first_up), np.zeros_like(w))
        trace.append(w)
    return np.array(trace)
