"""Theory beside the simulation: exact values, bounds and fixed points, with their errata.

* `linear`: affine cells exactly: moments, stationary variance, two-cycle, pulses to accuracy
* `zero_shift_bounds`: Theorems 2.2, C.2, C.3, C.4 for any response
* `tracking`: Lemma 3.5, Lemma 3.10 and what a filter leaves of a chopped signal
* `drift`: symmetric points that move: lag and noise of what tracks them
* `rider`: the convergence metric E_K, RIDER's invariant, lower bound and landing point
* `sgd_bias`: analog SGD's fixed point and its implicit penalty
* `multi_tile`: scaling with the number of tiles

Theorem and equation numbers without another source are those of arXiv 2602.21321. Functions take a
device, or arrays as `spt.read_arrays` gives them, and return one number per cell.
docs/theory.md tells what is true of the theorems and what is not.
"""

from sptrack.theory.drift import (
    best_tracking_rate,
    erider_lag,
    rider_following,
    tracking_lag,
    tracking_variance,
)
from sptrack.theory.linear import (
    LinearCells,
    Moments,
    TwoCycle,
    linear_cells,
    pair_contraction,
    pulses_to_accuracy,
    stationary_variance,
    stochastic_moments,
    two_cycle,
)
from sptrack.theory.multi_tile import composite_weight, multi_tile_error_scale, tile_optima
from sptrack.theory.rider import (
    ConvergenceTerms,
    LandingPoint,
    convergence_terms,
    rider_invariant,
    rider_landing_point,
    rider_lower_bound,
)
from sptrack.theory.sgd_bias import (
    analog_sgd_fixed_point,
    asymmetry_ratio,
    implicit_penalty,
    penalized_optimum,
)
from sptrack.theory.tracking import (
    chopper_leakage,
    ema_rate_floor,
    low_pass_cutoff,
    low_pass_response,
)
from sptrack.theory.zero_shift_bounds import (
    ResponseConstants,
    asymmetry_potential,
    cyclic_asymmetry_bound,
    cyclic_error_bound,
    response_constants,
    stochastic_asymmetry_bound,
    stochastic_error_bound,
)

__all__ = [
    "ConvergenceTerms",
    "LandingPoint",
    "LinearCells",
    "Moments",
    "ResponseConstants",
    "TwoCycle",
    "analog_sgd_fixed_point",
    "asymmetry_potential",
    "asymmetry_ratio",
    "best_tracking_rate",
    "chopper_leakage",
    "composite_weight",
    "convergence_terms",
    "cyclic_asymmetry_bound",
    "cyclic_error_bound",
    "ema_rate_floor",
    "erider_lag",
    "implicit_penalty",
    "linear_cells",
    "low_pass_cutoff",
    "low_pass_response",
    "multi_tile_error_scale",
    "pair_contraction",
    "penalized_optimum",
    "pulses_to_accuracy",
    "response_constants",
    "rider_following",
    "rider_invariant",
    "rider_landing_point",
    "rider_lower_bound",
    "stationary_variance",
    "stochastic_asymmetry_bound",
    "stochastic_error_bound",
    "stochastic_moments",
    "tile_optima",
    "tracking_lag",
    "tracking_variance",
    "two_cycle",
]
