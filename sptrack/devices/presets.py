"""Published cells by name; every preset takes overrides: `spt.presets.reram_array_om(dw_min=0.05)`.

Parameters of the two ReRAM arrays: Gong, Rasch et al., IEDM 2022, as aihwkit 1.2 has them
(`ReRamArrayOMPresetDevice`, `ReRamArrayHfO2PresetDevice`). Both are read against their symmetric
points, known up to `reference_mean` and `reference_std`. The measured share of stuck cells (0.1348
and 0.0977) is off by default, as there: set `corrupt_devices_prob` to have it.
"""

from sptrack.devices.soft_bounds import SoftBounds, SoftBoundsReference

__all__ = ["figure_1_soft_bounds", "reram_array_hfo2", "reram_array_om"]


def reram_array_om(**overrides) -> SoftBoundsReference:
    """Optimized ReRAM array, about 21 states (2 / 0.0949).

    Args:
      **overrides: any field of `SoftBoundsReference`.

    Raises:
      TypeError: for an unknown field.
      ValueError: for a value out of range.

    Example:
      >>> import sptrack as spt
      >>> round(spt.presets.reram_array_om(reference_mean=0.4).num_states, 1)
      21.1
    """
    return _reram_array(
        {
            "dw_min": 0.0949,
            "dw_min_dtod": 0.7829,
            "dw_min_std": 0.4158,
            "w_max_dtod": 0.3499,
            "w_min_dtod": 0.5695,
            "write_noise_std": 1.4113,
        },
        overrides,
    )


def reram_array_hfo2(**overrides) -> SoftBoundsReference:
    """Baseline HfO2 ReRAM array, about 4.3 states (2 / 0.4622); "RRAM-RfO2" in arXiv 2602.21321.

    Args:
      **overrides: any field of `SoftBoundsReference`.

    Raises:
      TypeError: for an unknown field.
      ValueError: for a value out of range.

    Example:
      >>> import sptrack as spt
      >>> round(spt.presets.reram_array_hfo2().num_states, 1)
      4.3
    """
    return _reram_array(
        {
            "dw_min": 0.4622,
            "dw_min_dtod": 0.7125,
            "dw_min_std": 0.2174,
            "w_max_dtod": 0.4295,
            "w_min_dtod": 0.5990,
            "write_noise_std": 0.5841,
        },
        overrides,
    )


def _reram_array(values: dict, overrides: dict) -> SoftBoundsReference:
    common = {
        "w_max": 1.0,
        "w_min": -1.0,
        "dw_min_dtod_log_normal": True,
        "up_down": 0.0,
        "up_down_dtod": 0.01,
        "mult_noise": False,
        "subtract_symmetry_point": True,
        "reference_std": 0.05,
        "corrupt_devices_range": 0.01,
    }
    return SoftBoundsReference(**(common | values | overrides))


def figure_1_soft_bounds(**overrides) -> SoftBounds:
    """The cells of arXiv 2602.21321, Fig. 1: 2000 states, symmetric points 0.25 +- 0.10.

    With up_down = 0.4 and rho = up_down_dtod xi the slopes are gain + rho and gain - 0.4 - rho; the
    appendix' formula omits rho. No cycle noise, no variation of the bounds.

    Args:
      **overrides: any field of `SoftBounds`.

    Raises:
      TypeError: for an unknown field.
      ValueError: for a value out of range.

    Example:
      >>> import jax, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.presets.figure_1_soft_bounds(), (512,))
      >>> bool(abs(spt.symmetric_point(device).mean() - 0.25) < 0.02)
      True
    """
    values = {
        "dw_min": 0.001,
        "dw_min_dtod": 0.02,
        "dw_min_std": 0.0,
        "up_down": 0.4,
        "up_down_dtod": 0.08,
        "w_max": 1.0,
        "w_min": -1.0,
        "w_max_dtod": 0.0,
        "w_min_dtod": 0.0,
        "mult_noise": False,
    }
    return SoftBounds(**(values | overrides))
