"""Populations of pulsed cells by the rules of aihwkit 1.2, in plain NumPy; no sptrack in here.

Written from the rules alone: how cells differ, and what one pulse does to each of them. The presets
have their published numbers once more, so that a slip of the pen in either place is seen. All
weights are hidden ones (no write noise); xi is standard normal. Single precision, which is faster
and rounds by far less than a population scatters.

    pulse, low, high = KIND(rng, cells, preset)     sampled cells and the bounds of their weights
    w = pulse(w, up)                                one pulse on each

Cells start at 0, or at the bound next to it: a cell that is read against a reference beyond its own
range can't show 0.
"""

import numpy as np

COMMON = {
    "dw_min_dtod_log_normal": False,
    "up_down": 0.0,
    "up_down_dtod": 0.01,
    "dw_min_dtod": 0.3,
    "w_max_dtod": 0.3,
    "w_min_dtod": 0.3,
}
RERAM_ARRAY = {
    "w_max": 1.0, "w_min": -1.0, "dw_min_dtod_log_normal": True, "subtract_symmetry_point": True,
    "reference_std": 0.05,
}  # fmt: skip
ECRAM = {"dw_min_dtod": 0.1, "w_max_dtod": 0.05, "w_min_dtod": 0.05, "gamma_dtod": 0.05}

PRESETS = {
    # name: (kind, what differs from COMMON)
    "reram_es": ("exp", {
        "dw_min": 0.00135, "w_max": 1.0, "w_min": -1.0, "dw_min_dtod": 0.2, "up_down": 0.259359,
        "up_down_dtod": 0.05, "dw_min_std": 5.0, "a": -0.5, "b": -0.5, "gamma_up": 5.0,
        "gamma_down": 5.0, "A_up": -1.18445, "A_down": -0.081404,
    }),
    "reram_sb": ("soft_bounds", {
        "dw_min": 0.002, "w_max": 1.25, "w_min": -0.75, "w_max_dtod": 0.24, "w_min_dtod": 0.4,
        "dw_min_std": 3.75,
    }),
    "capacitor": ("linear", {
        "dw_min": 0.005, "w_max": 1.0, "w_min": -1.0, "dw_min_dtod": 0.1, "up_down_dtod": 0.06,
        "w_max_dtod": 0.07, "w_min_dtod": 0.07, "dw_min_std": 0.3, "gamma_up": 0.05,
        "gamma_down": 0.05, "gamma_dtod": 0.01, "mult_noise": False,
    }),
    "ecram": ("linear", ECRAM | {
        "dw_min": 0.002, "w_max": 1.1724, "w_min": -0.8276, "dw_min_std": 0.3,
        "gamma_up": 0.1153, "gamma_down": 0.5085,
    }),
    "ecram_mo": ("linear", ECRAM | {
        "dw_min": 2.8214e-4, "w_max": 1.1714, "w_min": -0.8286, "dw_min_std": 2.0,
        "gamma_up": 0.4152, "gamma_down": 0.7342,
    }),
    "idealized": ("constant", {
        "dw_min": 0.0002, "w_max": 1.0, "w_min": -1.0, "up_down_dtod": 0.0, "dw_min_std": 0.3,
    }),
    "gokmen_vlasov": ("constant", {
        "dw_min": 0.0016, "w_max": 1.0, "w_min": -1.0, "dw_min_std": 0.3,
    }),
    "pcm": ("exp", {
        "dw_min": 0.01, "w_max": 2.0, "w_min": 0.0, "dw_min_dtod": 0.2, "up_down_dtod": 0.05,
        "w_max_dtod": 0.1, "w_min_dtod": 0.0, "dw_min_std": 0.6, "a": -1.0, "b": 0.0,
        "gamma_up": 2.5, "gamma_down": 2.5, "A_up": -27.235, "A_down": -2.235, "std_add": 0.042,
        "std_slope": 0.108,
    }),
    "reram_array_om": ("soft_bounds", RERAM_ARRAY | {
        "dw_min": 0.0949, "dw_min_dtod": 0.7829, "w_max_dtod": 0.3499, "w_min_dtod": 0.5695,
        "dw_min_std": 0.4158,
    }),
    "reram_array_hfo2": ("soft_bounds", RERAM_ARRAY | {
        "dw_min": 0.4622, "dw_min_dtod": 0.7125, "w_max_dtod": 0.4295, "w_min_dtod": 0.5990,
        "dw_min_std": 0.2174,
    }),
    "figure_1_soft_bounds": ("soft_bounds", {
        "dw_min": 0.001, "w_max": 1.0, "w_min": -1.0, "dw_min_dtod": 0.02, "up_down": 0.4,
        "up_down_dtod": 0.08, "w_max_dtod": 0.0, "w_min_dtod": 0.0, "dw_min_std": 0.0,
    }),
}  # fmt: skip


def normals(rng, *shape):
    return rng.standard_normal(shape, np.float32)


def spread(rng, cells, preset):
    """s_up, s_down, b_max, b_min of every cell, in weight units; signs made consistent."""
    p = COMMON | preset
    xi = normals(rng, 4, cells)
    b_max = p["w_max"] * (1 + p["w_max_dtod"] * xi[0])
    b_min = p["w_min"] * (1 + p["w_min_dtod"] * xi[1])
    crossed = b_min > b_max
    b_max, b_min = np.where(crossed, b_min, b_max), np.where(crossed, b_max, b_min)
    gain = p["dw_min_dtod"] * xi[2]
    gain = np.exp(gain) if p["dw_min_dtod_log_normal"] else 1 + gain
    rho = p["up_down_dtod"] * xi[3]
    beta_up = 0.0 if p["up_down"] > 0 else p["up_down"]
    beta_down = -p["up_down"] if p["up_down"] > 0 else 0.0
    s_up = p["dw_min"] * (beta_up + gain + rho)
    s_down = p["dw_min"] * (beta_down + gain - rho)
    return np.abs(s_up), np.abs(s_down), np.abs(b_max), -np.abs(b_min)


def constant(rng, cells, preset):
    s_up, s_down, b_max, b_min = spread(rng, cells, preset)
    sigma = preset["dw_min_std"]

    def pulse(w, up):
        step = (s_up if up else -s_down) * (1 + sigma * normals(rng, cells))
        return np.clip(w + step, b_min, b_max)

    return pulse, b_min, b_max


def linear(rng, cells, preset):
    """s (1 - gamma w / ref) with the mean bound as ref; noise on the step or on s alone."""
    s_up, s_down, b_max, b_min = spread(rng, cells, preset)
    xi = normals(rng, 2, cells)
    gamma_up = np.abs(preset["gamma_up"] + preset["gamma_dtod"] * xi[0])
    gamma_down = np.abs(preset["gamma_down"] + preset["gamma_dtod"] * xi[1])
    a_up, a_down = -gamma_up * s_up / preset["w_max"], -gamma_down * s_down / preset["w_min"]
    sigma, multiplicative = preset["dw_min_std"], preset.get("mult_noise", True)

    def pulse(w, up):
        s, a, sign = (s_up, a_up, 1) if up else (s_down, a_down, -1)
        noise = sigma * normals(rng, cells)
        step = (s + a * w) * (1 + noise) if multiplicative else a * w + s * (1 + noise)
        return np.clip(w + sign * step, b_min, b_max)

    return pulse, b_min, b_max


def soft_bounds(rng, cells, preset):
    """s (1 - h / b + sigma xi) on the state h = w + reference."""
    s_up, s_down, b_max, b_min = spread(rng, cells, preset)
    reference = preset.get("reference_std", 0.0) * normals(rng, cells)
    if preset.get("subtract_symmetry_point", False):
        reference += (s_up - s_down) / (s_up / b_max - s_down / b_min)
    sigma = preset["dw_min_std"]

    def pulse(w, up):
        h = w + reference
        if up:
            h = h + s_up * (1 - h / b_max + sigma * normals(rng, cells))
        else:
            h = h - s_down * (1 - h / b_min + sigma * normals(rng, cells))
        return np.clip(h, b_min, b_max) - reference

    return pulse, b_min - reference, b_max - reference


def exp(rng, cells, preset):
    """s max(1 - A e^(+-gamma z), 0); noise on the step plus a floor that grows with |w|."""
    s_up, s_down, b_max, b_min = spread(rng, cells, preset)
    p, sigma = preset, preset["dw_min_std"]
    floor, slope = p.get("std_add", 0.0), p.get("std_slope", 0.0)

    def pulse(w, up):
        z = 2 * p["a"] * w / (b_max - b_min) + p["b"]
        if up:
            step = s_up * np.maximum(1 - p["A_up"] * np.exp(p["gamma_up"] * z), 0)
        else:
            step = -s_down * np.maximum(1 - p["A_down"] * np.exp(-p["gamma_down"] * z), 0)
        std = sigma * (np.abs(step) + floor + slope * np.abs(w))
        return np.clip(w + step + std * normals(rng, cells), b_min, b_max)

    return pulse, b_min, b_max


PART = 16_384
KINDS = {"constant": constant, "linear": linear, "soft_bounds": soft_bounds, "exp": exp}


def after_pulses(seed, name, cells, pulses):
    """Weights of a preset's cells after n pulses up from 0, and after n down from there.

    `cells` is a multiple of `PART`.

    Returns:
      {n: (weights after n up pulses, weights after as many down pulses)}.
    """
    kind, preset = PRESETS[name]
    parts = cells // PART  # of as many cells as a cache holds
    found = {n: ([], []) for n in pulses}
    for stream in np.random.SeedSequence(seed).spawn(parts):
        rng = np.random.Generator(np.random.SFC64(stream))
        pulse, low, high = KINDS[kind](rng, PART, preset)
        w = np.clip(np.float32(0), low, high)
        for n in range(1, max(pulses) + 1):
            w = pulse(w, True)
            if n in pulses:
                down = w
                for _ in range(n):
                    down = pulse(down, False)
                found[n][0].append(w)
                found[n][1].append(down)
    return {n: tuple(map(np.concatenate, sides)) for n, sides in found.items()}
