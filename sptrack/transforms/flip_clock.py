"""Relaxed choppers: flips at real times, for derivatives in the flip probability p.

A flip between two steps has no derivative in p. A relaxed chopper flips at real times instead,

    T_1 = g_1,   T_(n+1) = T_n + g_(n+1)
      scalar, random   g = 1 + E (1 - p) / p, E exponential: mean 1/p, as of gaps in whole steps
      periodic         g = max(1/p, 2), instead of max(ceil(1/p), 2)

and step k sees the mean sign over its time, from k to k + 1. Of the change of Q~ each end of a step
gets the share that is in its tent:

    c_k = mean of the sign over [k, k + 1],   Q~ <- Q~ + f (Q - Q~),  f = sum of (1 - |T - k - 1|)+

At whole T this is the chopper that flips between steps. In between c and f are linear in T, so the
loss is continuous, and its derivative in T integrates to the difference between a flip here and one
step later, however large that is. (A flip that is relaxed in its value, c (1 - 2 f) with f from 0
to 1, hasn't this property: c^2 is 1 at both ends, and the loss's tangents there don't see that.)

The price is a bias: steps with a flip inside, a share p of them, let less signal through, c^2 < 1.
How much it is, and the spread beside that of the score function: `docs/estimators.md`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sptrack._random import leaf_keys, purpose_key
from sptrack._typing import Array, Key, PyTree

RELAXED = "relaxed_"  # what names of relaxed choppers begin with


class FlipClock(NamedTuple):
    """Of one matrix's signs: what they are when a step begins, and when the next flip comes.

    Attributes:
      sign: signs at the beginning of the step, +1 or -1; shaped like the chopper's signs.
      until: time from there to the next flip, in steps, >= 0.
    """

    sign: Array
    until: Array

    def mean_sign(self) -> Array:
        """c of the step that begins: the sign's mean over its time."""
        return self.sign * jnp.minimum(2 * self.until - 1, 1)


def init_clocks(
    key: Key, signs: PyTree, probability: Array, kind: str, *, staggered: bool
) -> PyTree:
    """The clock of every weight: a tree of `FlipClock`.

    Args:
      key: the chopper's key, which no step has.
      signs: tree of first signs.
      probability: p in [0, 1].
      kind: "scalar", "random" or "periodic".
      staggered: whether column j of a periodic chopper is one step ahead of column j - 1, as where
        whole matrices are read.
    """
    clocks = []
    for own, sign in zip(_keys(key, signs, kind), jax.tree.leaves(signs), strict=True):
        first = _gap(own, sign, probability, kind)
        if kind == "periodic" and staggered:
            first -= jnp.mod(jnp.arange(sign.size).reshape(sign.shape), first)
        clocks.append(FlipClock(sign, first))
    return jax.tree.structure(signs).unflatten(clocks)


def mean_signs(clocks: PyTree) -> PyTree:
    """c of the step that begins, for every weight."""
    return jax.tree.map(FlipClock.mean_sign, clocks, is_leaf=_is_clock)


def tick_all(key: Key, clocks: PyTree, probability: Array, kind: str) -> PyTree:
    """The clocks of all weights at the end of a step."""
    leaves, treedef = jax.tree.flatten(clocks, is_leaf=_is_clock)
    keys = _keys(key, treedef.unflatten([clock.sign for clock in leaves]), kind)
    ticked = [tick(*pair, probability, kind)[0] for pair in zip(keys, leaves, strict=True)]
    return treedef.unflatten(ticked)


def tick(key: Key, clock: FlipClock, probability: Array, kind: str) -> tuple[FlipClock, Array]:
    """The clock of one matrix at the end of a step, and the share f of Q that Q~ takes then."""
    left, flips = clock.until - 1, clock.until < 1
    gap = _gap(key, clock.sign, probability, kind)
    sign = jnp.where(flips, -clock.sign, clock.sign)
    after = FlipClock(sign, jnp.where(flips, left + gap, left))
    return after, jnp.where(flips, clock.until, 0) + jnp.maximum(1 - after.until, 0)


def _is_clock(node: PyTree) -> bool:
    return isinstance(node, FlipClock)


def _keys(key: Key, signs: PyTree, kind: str) -> list[Key]:
    """A key for every weight, the same one where all share their flips."""
    return [key] * len(jax.tree.leaves(signs)) if kind == "scalar" else leaf_keys(key, signs)


def _gap(key: Key, like: Array, probability: Array, kind: str) -> Array:
    """Steps from one flip to the next, at least one; infinitely many for p = 0."""
    p = jnp.asarray(probability, like.dtype)
    flips = p > 0
    p = jnp.where(flips, p, 0.5)
    if kind == "periodic":
        gap = jnp.broadcast_to(jnp.maximum(1 / p, 2), like.shape)
    else:
        draw = jax.random.exponential(purpose_key(key, "chopper"), like.shape, like.dtype)
        gap = 1 + draw * (1 - p) / p
    return jnp.where(flips, gap, jnp.inf)
