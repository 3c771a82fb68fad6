"""The moving average as a tracker of symmetric points: Lemma 3.5 and Lemma 3.10.

    Q_{k+1} = (1 - eta) Q_k + eta P_{k+1}

is a first-order low-pass filter (an infinite impulse response, IIR; the paper's "IIS" is a
misprint). What a chopper flips is separated from what stays only if the chopped signal lies above
the filter's cutoff: eta well below pi p, for flips with probability p per step. Lemma 3.5 says when
one step brings Q closer to the symmetric point than P is; it does not imply that Q converges.
"""

import jax
import jax.numpy as jnp

from sptrack._typing import Array, PyTree


def ema_rate_floor(residual: PyTree, tracked_sp: PyTree, symmetric_point: PyTree) -> Array:
    """Lemma 3.5: with any eta in (floor, 1), Q_{k+1} is closer to the symmetric point than P_{k+1}.

        floor = max(1 - 2 <P - W*, P - Q> / |P - Q|^2, 0),    1 if the inner product is not positive

    the norms over all cells of the trees together. It is exact. It does not say that Q converges to
    the symmetric point: RIDER's does not, see `sptrack.theory.rider_landing_point`.

    Args:
      residual: P_{k+1}, what reads show; e.g. `spt.read_arrays(state)["residual"]`.
      tracked_sp: Q_k, before its update.
      symmetric_point: true symmetric points of P.

    Returns:
      A scalar in [0, 1]; 1 means that no eta < 1 helps.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> print(spt.theory.ema_rate_floor(jnp.array([1.0]), jnp.array([-3.0]), jnp.array([0.0])))
      0.5
    """
    error = jax.tree.leaves(jax.tree.map(jnp.subtract, residual, symmetric_point))
    gap = jax.tree.leaves(jax.tree.map(jnp.subtract, residual, tracked_sp))
    inner = sum(jnp.sum(e * d) for e, d in zip(error, gap, strict=True))
    square = sum(jnp.sum(d * d) for d in gap)
    some = square > 0
    return jnp.where(some, jnp.clip(1 - 2 * inner / jnp.where(some, square, 1), 0, 1), 1)


def low_pass_response(eta: Array | float, omega: Array | float) -> Array:
    """Lemma 3.10: the filter's transfer function H = eta / (1 - (1 - eta) exp(-i omega)).

        |H|^2 = eta^2 / (1 + (1 - eta)^2 - 2 (1 - eta) cos omega)

    Stable for 0 < eta < 2; |H| is 1 at omega = 0 and eta / (2 - eta) at pi.

    Args:
      eta: rate of the filter.
      omega: angular frequencies; radians per step.

    Returns:
      Complex gains of omega's shape. Differentiable in its real and imaginary part.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> print(abs(spt.theory.low_pass_response(0.5, jnp.array([0.0, jnp.pi]))).round(4))
      [1.     0.3333]
    """
    eta = jnp.asarray(eta)
    return eta / (1 - (1 - eta) * jnp.exp(-1j * jnp.asarray(omega)))


def low_pass_cutoff(eta: Array | float) -> Array:
    """The angular frequency where |H|^2 = 1/2, exactly: sin(omega / 2) = eta / (2 sqrt(1 - eta)).

    About eta for small eta. A filter with eta > 2 sqrt(2) - 2 = 0.83 never gets there: NaN.

    Args:
      eta: rate of the filter, in (0, 1].

    Returns:
      Angular frequency; radians per step.

    Example:
      >>> import sptrack as spt
      >>> print(spt.theory.low_pass_cutoff(0.1).round(4))
      0.1055
    """
    eta = jnp.asarray(eta)
    return 2 * jnp.arcsin(eta / (2 * jnp.sqrt(1 - eta)))


def chopper_leakage(
    eta: Array | float, chop_prob: Array | float, *, chopper: str = "random"
) -> Array:
    """What is left of a signal that the chopper flips: E Q^2 for P = c, c = +-1, exactly.

        random:    eta / (2 - eta) (1 + r (1 - eta)) / (1 - r (1 - eta)),    r = 1 - 2 p
        periodic:  mean over a half-period of m = 1 / p steps of the settled filter's output squared

    1 means that Q follows the chopped residual. With eta = 5 p, as in the released experiments, it
    is 0.74 (random) or 0.66 (periodic) at p = 0.05: their Q~ is a transient reference. eta = p / 10
    leaves 0.045 or 0.0008. The chopped signal's fundamental is at pi p (periodic).
    Differentiable.

    Args:
      eta: rate of the filter, in (0, 1].
      chop_prob: p in (0, 1], flips per step.
      chopper: "random" (flips with probability p) or "periodic" (every 1/p steps).

    Returns:
      Mean square of the filter's output over that of its input, in [0, 1].

    Raises:
      ValueError: for an unknown chopper.

    Example:
      >>> import sptrack as spt
      >>> for eta in (1.0, 0.01):
      ...     print(spt.theory.chopper_leakage(eta, 0.1).round(3))
      1.0
      0.043
    """
    eta, p = jnp.asarray(eta), jnp.asarray(chop_prob)
    kept = 1 - eta
    if chopper == "random":
        echo = (1 - 2 * p) * kept
        return eta / (2 - eta) * (1 + echo) / (1 - echo)
    if chopper != "periodic":
        raise ValueError(f"chopper must be 'random' or 'periodic', got {chopper!r}.")
    # After j steps of a half-period that starts at -A the output is 1 - (1 + A) kept^j, and +A at
    # its end: A = (1 - kept^m) / (1 + kept^m).
    steps = 1 / p
    left = kept**steps
    swing = 2 / (1 + left)  # 1 + A
    linear = kept * (1 - left) / eta
    square = kept**2 * (1 - left**2) / (eta * (2 - eta))
    return 1 + (swing**2 * square - 2 * swing * linear) / steps
