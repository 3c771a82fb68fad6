"""Scaling of residual learning on N + 1 tiles: Li et al. 2025 (2510.02516).

    W_bar = sum over n of gamma^n W^(n),   n = 0 ... N

Tile N sees gradients; each tile learns what is left of the optimum after the tiles before it, as if
the pulse size were that of tile n times gamma^n. Errors are those of the theorems, up to constants.
"""

from collections.abc import Sequence

import jax.numpy as jnp

from sptrack._typing import Array


def composite_weight(tiles: Sequence[Array], gamma: Array | float) -> Array:
    """W_bar = sum of gamma^n W^(n): what the model sees of the tiles.

    Args:
      tiles: W^(0) ... W^(N), all of one shape.
      gamma: scale between a tile and the next.

    Returns:
      The composite weight. Differentiable.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> print(spt.theory.composite_weight([jnp.array(0.5), jnp.array(0.2)], 0.1))
      0.52
    """
    total = jnp.zeros_like(tiles[-1])
    for tile in reversed(tiles):  # Horner
        total = tile + gamma * total
    return total


def tile_optima(tiles: Sequence[Array], optimum: Array, gamma: Array | float) -> list[Array]:
    """The drifting optimum of every tile: P_n = gamma^-n (W_opt - sum over m < n of gamma^m W^(m)).

    So P_{n+1} = (P_n - W^(n)) / gamma, and P_N - W^(N) = gamma^-N (W_opt - W_bar): the error of the
    composite is that of the last tile times gamma^N.

    Args:
      tiles: W^(0) ... W^(N), all of one shape.
      optimum: W_opt.
      gamma: scale between a tile and the next; > 0.

    Returns:
      P_0 ... P_N. Differentiable.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> tiles = [jnp.array(0.5), jnp.array(0.25)]
      >>> print(jnp.stack(spt.theory.tile_optima(tiles, jnp.array(0.75), 0.5)))
      [0.75 0.5 ]
    """
    optima = [optimum]
    for tile in tiles[:-1]:
        optima.append((optima[-1] - tile) / gamma)
    return optima


def multi_tile_error_scale(
    gamma: Array | float, num_tiles: int, gradient_std: Array | float, dw_min: Array | float
) -> Array:
    """How the composite's squared error scales, Corollary 1: gamma^(2 N / 3) (sigma dw_min)^(2/3).

    Up to a constant that the paper does not give, for gamma <= 1/sqrt(6), N + 1 tiles, tile n
    transferred every Theta(1/gamma) steps and beta = Theta(gamma^2). Theorem 3 has the same in the
    units of the last tile, gamma^(-4 N / 3) (sigma dw_min)^(2/3), times gamma^(2 N).

    Args:
      gamma: scale between a tile and the next, in (0, 1).
      num_tiles: number of tiles, N + 1 >= 1.
      gradient_std: std sigma of the gradient's noise.
      dw_min: pulse size; weight units.

    Returns:
      The scale of lim sup E |W_opt - W_bar|^2; compare ratios only.

    Raises:
      ValueError: if `num_tiles` is below 1.

    Example:
      >>> import sptrack as spt
      >>> one, four = (spt.theory.multi_tile_error_scale(0.125, n, 1.0, 0.001) for n in (1, 4))
      >>> print(four / one)  # 0.125^2
      0.015625
    """
    if num_tiles < 1:
        raise ValueError(f"num_tiles must be at least 1, got {num_tiles!r}.")
    noise = jnp.asarray(gradient_std) * jnp.asarray(dw_min)
    return jnp.asarray(gamma) ** (2 * (num_tiles - 1) / 3) * noise ** (2 / 3)
