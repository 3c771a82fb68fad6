"""Symmetric points that move: how far behind them the tracked reference is, and how noisy.

A symmetric point S moves by v per step. To first order in one step's pulses, P and Q follow it by

    S_{k+1} = S_k + v
    P_{k+1} = P_k - lambda (P_k - S_{k+1}) + noise,     lambda = a E|alpha g|
    Q_{k+1} = Q_k + eta (P_{k+1} - Q_k)

that is, S moves, then come the pulses, then the read. It is exact in the mean for affine cells that
get at most one pulse per step, with a the slope of G (`linear_cells`). Two things may move S:

* the response of the cells (temperature, ageing): their weights stay, and P has to walk after S;
* the second device of a cell that is read against a reference, w = h - r: S and P move together,
  P is never behind, and only Q has to follow.

While the array also learns, the gradient mu (W_bar - W_opt) + sigma xi pulls P as well, by

    kappa = alpha mu F*,    kappa / lambda = mu F* / (a E|g|)

per unit of W_bar. That slows E-RIDER down and stops RIDER. Own derivations; arXiv 2602.21321 takes
symmetric points to be constant.
"""

import jax.numpy as jnp

from sptrack._typing import Array

MOVES = ("response", "reference")


def tracking_lag(
    drift: Array | float,
    contraction: Array | float,
    eta: Array | float,
    *,
    moves: str = "response",
) -> Array:
    """Mean of S - Q, once the start is forgotten, of a tracker that does nothing else.

        v (1 - lambda) / lambda + v (1 - eta) / eta     the response moves: P's lag and the filter's
        v (1 - eta) / eta                               the reference device moves

    Right after the read, when S has moved and P has got its pulses. Differentiable.

    Args:
      drift: v, weight units per step.
      contraction: lambda in (0, 1], the share of P - S that one step's pulses remove on average.
      eta: rate of the filter, in (0, 1].
      moves: what moves S, "response" or "reference".

    Returns:
      Lags in weight units, of the sign of v.

    Raises:
      ValueError: for another `moves`.

    Example:
      >>> import sptrack as spt
      >>> for moves in ("response", "reference"):
      ...     print(spt.theory.tracking_lag(1e-4, 0.01, 0.05, moves=moves).round(6))
      0.0118
      0.0019
    """
    if moves not in MOVES:
        raise ValueError(f"moves must be one of {MOVES}, got {moves!r}.")
    filtered = _behind(eta)
    return jnp.asarray(drift) * (filtered + _behind(contraction) * (moves == "response"))


def tracking_variance(
    eta: Array | float, contraction: Array | float, variance: Array | float
) -> Array:
    """Variance of Q around its mean: what the filter leaves of P's.

        V eta / (2 - eta) (1 + rho (1 - eta)) / (1 - rho (1 - eta)),    rho = 1 - lambda

    exactly, because successive P are correlated by rho. About V eta / lambda where eta is well
    below lambda. Differentiable.

    Args:
      eta: rate of the filter, in (0, 1].
      contraction: lambda in (0, 1].
      variance: V, stationary variance of P, e.g. `stationary_variance(device)` for single pulses;
        weight units squared. A drift raises it by about dw_min a / 2 of P's lag squared.

    Returns:
      Variances, weight units squared.

    Example:
      >>> import sptrack as spt
      >>> print(spt.theory.tracking_variance(0.001, 0.01, 1.0).round(3))
      0.091
    """
    eta, kept = jnp.asarray(eta), 1 - jnp.asarray(eta)
    echo = (1 - contraction) * kept
    return variance * eta / (2 - eta) * (1 + echo) / (1 - echo)


def best_tracking_rate(
    drift: Array | float, contraction: Array | float, variance: Array | float
) -> Array:
    """The eta with the least lag^2 + variance, for a slow drift: eta ~ v^(2/3).

        eta = (4 v^2 lambda / ((2 - lambda) V))^(1/3)

    to leading order where eta is well below lambda. Q is then (v / eta)^2 off by its lag and twice
    that by its noise, in squares, if the reference device moves; P's own lag, v / lambda, comes on
    top if the response does. No eta helps where the result is not below lambda: take eta = 1 there.
    Differentiable.

    Args:
      drift: v, weight units per step; not zero, for which eta = 0 is best.
      contraction: lambda in (0, 1].
      variance: V, stationary variance of P; weight units squared, > 0.

    Returns:
      Rates, at most 1.

    Example:
      >>> import sptrack as spt
      >>> for v in (1e-6, 8e-6):
      ...     print(spt.theory.best_tracking_rate(v, 0.01, 0.01).round(6))
      0.000126
      0.000505
    """
    cube = 4 * jnp.square(drift) * contraction / ((2 - jnp.asarray(contraction)) * variance)
    return jnp.minimum(jnp.cbrt(cube), 1)


def erider_lag(
    drift: Array | float,
    contraction: Array | float,
    eta: Array | float,
    *,
    pull: Array | float,
    gamma: Array | float,
    transfer_rate: Array | float,
    chop_prob: Array | float,
    moves: str = "response",
) -> Array:
    """Mean of S - Q in E-RIDER that learns while symmetric points move.

        tracking_lag
            + v pull (gamma (1/eta + 1/p - 2) + beta (1 - 2 p) / (2 p) (1/eta + 1/p - 1))

    What comes on top of the tracker's own lag is due to Q~, which is behind Q by
    v (1 - p) / p: the model sees gamma times what P is ahead of Q~, and W integrates it from flip
    to flip, and both push P back. On an ideal W array and a quadratic with W* = W_opt at rest, for
    signs that flip with probability p, and |mean gradient| below its noise, so that E|g| is
    constant. Differentiable.

    Args:
      drift: v, weight units per step.
      contraction: lambda = a E|alpha g|, in (0, 1].
      eta: rate of the filter, in (0, 1].
      pull: kappa / lambda = mu F* / (a E|g|), >= 0; 0 for a loss without curvature mu.
      gamma: weight of the residual in what the model sees.
      transfer_rate: beta.
      chop_prob: p in (0, 1].
      moves: what moves S, "response" or "reference".

    Returns:
      Lags in weight units, of the sign of v; infinite for p = 0.

    Raises:
      ValueError: for another `moves`.

    Example:
      >>> import sptrack as spt
      >>> for p in (0.1, 0.01):
      ...     print(spt.theory.erider_lag(1e-5, 0.01, 0.02, pull=1.0, gamma=0.1,
      ...                                 transfer_rate=1e-3, chop_prob=p).round(5))
      0.00154
      0.0017
    """
    p, rate = jnp.asarray(chop_prob), jnp.asarray(eta)
    seen = gamma * (1 / rate + 1 / p - 2)
    integrated = transfer_rate * (1 - 2 * p) / (2 * p) * (1 / rate + 1 / p - 1)
    alone = tracking_lag(drift, contraction, eta, moves=moves)
    return alone + jnp.asarray(drift) * pull * (seen + integrated)


def rider_following(ratio: Array | float, pull: Array | float) -> Array:
    """The share of a drift that RIDER's Q follows, on an ideal W array: 1 / (1 + r pull).

    W - r Q is invariant, so where Q goes, W goes r = beta / eta times as far, and the gradient that
    W then meets holds P back. Q moves by this share of v per step and W by r times as much: both
    errors grow without limit, by (1 - share) v and r share v per step, while |mean gradient| is
    below its noise. It is how `rider_landing_point` moves with the symmetric point. Any speed, any
    gamma. Differentiable.

    Args:
      ratio: r = beta / eta, > 0.
      pull: kappa / lambda = mu F* / (a E|g|), >= 0.

    Returns:
      Shares in (0, 1].

    Example:
      >>> import sptrack as spt
      >>> print(spt.theory.rider_following(1.0, 1.0), spt.theory.rider_following(0.1, 1.0).round(3))
      0.5 0.909
    """
    return 1 / (1 + jnp.asarray(ratio) * pull)


def _behind(rate: Array | float) -> Array:
    """Steps that a first-order follower is behind: (1 - rate) / rate."""
    rate = jnp.asarray(rate)
    return (1 - rate) / rate
