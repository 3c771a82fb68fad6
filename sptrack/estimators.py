"""Gradients of expectations, where drawing is part of what is computed.

Which estimator fits what, with measured variances: `docs/estimators.md`. Gradients that need none
of these are ordinary `jax.grad`: pathwise ones through noise and spreads, mean-field ones through
`method="mean"`, implicit ones of `spt.symmetric_point`, straight-through ones by
`gradient="straight_through"` of `spt.analog_update` and `spt.coincidence_update`.

    score function         d/dt E[L] = E[dL/dt + L d log p / dt], p that of what was drawn
    evolution strategies   d/dt E[L(t + s eps)] = E[(L(t + s eps) - L(t - s eps)) eps / (2 s)]

References: Williams 1992 and Kool et al. 2019 (a baseline of the other samples); Salimans et al.
2017, arXiv 1703.03864 (antithetic pairs); common random numbers: both of a pair get one key.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from sptrack._random import as_key, is_key, leaf_keys, purpose_key
from sptrack._typing import Array, Key, PyTree, check_number
from sptrack.random import standard_normal

__all__ = [
    "Estimate",
    "bernoulli_log_prob",
    "evolution_strategies_grad",
    "score_function_grad",
    "unroll",
]

_BASELINES = ("leave_one_out", "none")


class Estimate(NamedTuple):
    """An estimated gradient.

    Attributes:
      value: mean of the function over the samples, scalar.
      grad: the gradient; a tree like the parameters.
      std_error: standard errors of `grad`, from the spread of the samples; a tree like it.

    Example:
      >>> spt.estimators.Estimate._fields
      ('value', 'grad', 'std_error')
    """

    value: Array
    grad: PyTree
    std_error: PyTree


def bernoulli_log_prob(successes: ArrayLike, trials: ArrayLike, p: ArrayLike) -> Array:
    """k log p + (n - k) log(1 - p): n coins of which these k fell on their p side.

    Its derivative in p is the score, of mean zero. Where an outcome is certain, p = 0 or 1, both
    are zero: a one-sided derivative of an expectation there isn't seen.

    Args:
      successes: k, numbers from 0 to n.
      trials: n.
      p: probabilities in [0, 1].

    Returns:
      Logarithms of probabilities, of the common shape; differentiable in p.

    Example:
      >>> print(spt.estimators.bernoulli_log_prob(1, 2, 0.5).round(4))
      -1.3863
    """
    p = jnp.asarray(p, jnp.result_type(p, float))
    inside = (p > 0) & (p < 1)
    q = jnp.where(inside, p, 0.5)
    failures = jnp.asarray(trials) - jnp.asarray(successes)
    return jnp.where(inside, successes * jnp.log(q) + failures * jnp.log1p(-q), 0)


def score_function_grad(
    fun: Callable[[Key, PyTree], tuple[Array, Array]],
    num_samples: int,
    *,
    baseline: str = "leave_one_out",
) -> Callable[[Key, PyTree], Estimate]:
    """Unbiased gradient of E[L] through discrete draws, from their log-probabilities.

    `fun` returns L and the sum of the log-probabilities of all that it drew and that depends on
    the parameters, e.g. those of `spt.pulses.draw_rounding` and `spt.pulses.draw_coincidences`. L
    may depend on the parameters besides; that part is differentiated pathwise. The mean of the
    other samples is subtracted from L, which removes no mean and much variance. The variance grows
    with the number of draws: for long runs, or many parameters, see the alternatives in
    `docs/estimators.md`.

    Args:
      fun: (key, parameters) -> (L, log-probability), both scalar.
      num_samples: runs of `fun`, in one vmapped program; at least 2.
      baseline: "leave_one_out", or "none".

    Returns:
      (key, parameters) -> `Estimate`. Sample i has the key `fold_in(key, i)`.

    Raises:
      ValueError: for fewer than two samples, an unknown baseline, or results that aren't scalars.
      TypeError: if parameters aren't floating.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> def fun(key, p):
      ...     up = jax.random.bernoulli(key, p)
      ...     return jnp.where(up, 3.0, 1.0), spt.estimators.bernoulli_log_prob(up, 1, p)
      >>> found = spt.estimators.score_function_grad(fun, 1000)(jax.random.key(0), 0.5)
      >>> print(abs(found.grad - 2) < 4 * found.std_error + 1e-6)  # d/dp (3 p + 1 - p)
      True
    """
    _check_samples("score_function_grad", "num_samples", num_samples)
    if baseline not in _BASELINES:
        raise ValueError(f"baseline must be one of {_BASELINES}, got {baseline!r}.")

    def pair(key, parameters):
        found = fun(key, parameters)
        if jax.tree.map(jnp.shape, found) != ((), ()):
            raise ValueError(f"fun must return two scalars, (L, log-probability), got {found}.")
        return found

    def estimate(key: Key, parameters: PyTree) -> Estimate:
        parameters = _floating(parameters)
        keys = _numbered(key, num_samples)
        copies = jax.tree.map(lambda x: jnp.broadcast_to(x, (num_samples, *x.shape)), parameters)
        (values, scores), pull = jax.vjp(lambda each: jax.vmap(pair)(keys, each), copies)
        if baseline == "none":
            weights = values
        else:
            weights = values - (values.sum() - values) / (num_samples - 1)
        (grads,) = pull((jnp.ones_like(values), weights.astype(scores.dtype)))
        return _summary(values, grads)

    return estimate


def evolution_strategies_grad(
    fun: Callable[[Key, PyTree], Array],
    sigma: float,
    num_pairs: int,
    *,
    batch_size: int | None = None,
) -> Callable[[Key, PyTree], Estimate]:
    """Gradient of E[L] from runs alone, smoothed over Gaussian steps: for exact pulses, long runs.

        g = mean over pairs of (L(t + s eps) - L(t - s eps)) eps / (2 s),   eps standard normal

    Both runs of a pair have the same key, so what noise they share cancels. It is unbiased for the
    smoothed E[L(t + s eps)], so biased by s^2 / 2 times the gradient of the Laplacian of L for L
    itself; a discontinuous L is fine. Its variance grows with the number of parameters: meant for
    few, e.g. logarithms of rates.

    Args:
      fun: (key, parameters) -> L, scalar; nothing has to be differentiable.
      sigma: step s > 0, the same for all parameters: scale them.
      num_pairs: pairs of runs, at least 2.
      batch_size: pairs in one vmapped program; None is all.

    Returns:
      (key, parameters) -> `Estimate`. Pair i has the key `fold_in(key, i)`.

    Raises:
      ValueError: if `sigma` or a number is out of range, or L is no scalar.
      TypeError: if parameters aren't floating.

    Example:
      >>> import jax
      >>> grad = spt.estimators.evolution_strategies_grad(lambda key, x: 3 * x, 0.1, 1000)
      >>> found = grad(jax.random.key(0), 0.5)
      >>> print(abs(found.grad - 3) < 4 * found.std_error)
      True
    """
    check_number("evolution_strategies_grad", "sigma", sigma, 0, jnp.inf)
    if sigma == 0:
        raise ValueError("evolution_strategies_grad: sigma must be > 0, got 0.")
    _check_samples("evolution_strategies_grad", "num_pairs", num_pairs)
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"batch_size must be an integer >= 1 or None, got {batch_size!r}.")

    def estimate(key: Key, parameters: PyTree) -> Estimate:
        parameters = _floating(parameters)

        def pair(key):
            leaves, treedef = jax.tree.flatten(parameters)
            keys = leaf_keys(purpose_key(key, "step"), parameters)
            draws = [
                standard_normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)
            ]
            steps = treedef.unflatten(draws)
            both = jax.tree.map(
                lambda x, e: jnp.stack([x + sigma * e, x - sigma * e]), parameters, steps
            )
            values = jax.vmap(fun, in_axes=(None, 0))(purpose_key(key, "run"), both)
            if values.shape != (2,):
                raise ValueError(f"fun must return a scalar, got shape {values.shape[1:]}.")
            above, below = values
            return (above + below) / 2, jax.tree.map(
                lambda e: (above - below) / (2 * sigma) * e, steps
            )

        keys = _numbered(key, num_pairs)
        size = num_pairs if batch_size is None else batch_size
        return _summary(*jax.lax.map(pair, keys, batch_size=size))

    return estimate


def unroll(
    step: Callable[[PyTree, Array], tuple[PyTree, PyTree]],
    carry: PyTree,
    num_steps: int,
    *,
    segment: int,
    truncate: bool = False,
) -> tuple[PyTree, PyTree]:
    """`jax.lax.scan` over step numbers, for gradients through long runs.

    In reverse mode a scan keeps what each step needs. Here only the carry at the start of each
    segment is kept, and a segment is run again when its gradient is due: memory for num_steps /
    segment carries and the steps of one segment, least at segment = sqrt(num_steps), for one more
    run. The gradient is the same.

    With `truncate` no gradient crosses from a segment to the one before: biased, by what
    parameters do to later segments through the carry, and bounded where the full one explodes. A
    loss must then be taken inside the segments (from the outputs).

    Args:
      step: (carry, number of the step) -> (carry, output).
      carry: where to start, arrays and typed keys.
      num_steps: steps, a multiple of `segment`.
      segment: steps of a segment, >= 1.
      truncate: whether gradients stop between segments.

    Returns:
      (carry at the end, outputs stacked on a leading axis of `num_steps`).

    Raises:
      ValueError: if `segment` is no positive integer that divides `num_steps`.

    Example:
      >>> import jax
      >>> def end(x, truncate):
      ...     step = lambda c, t: (c * x, c * x)
      ...     return spt.estimators.unroll(step, 1.0, 6, segment=3, truncate=truncate)[0]
      >>> print(jax.grad(end)(2.0, False), jax.grad(end)(2.0, True))  # 6 x^5, 3 x^2 x^3
      192.0 96.0
    """
    whole = isinstance(segment, int) and isinstance(num_steps, int) and segment >= 1
    if not whole or num_steps < segment or num_steps % segment:
        raise ValueError(
            f"unroll: segment must be an integer >= 1 that divides num_steps, got segment "
            f"{segment!r} and num_steps {num_steps!r}."
        )

    # Between segments keys are plain words: JAX's check takes a key that is used again, where a
    # segment is run again, for one that is reused.
    leaves, treedef = jax.tree.flatten(carry)
    kinds = [jax.random.key_impl(x) if is_key(x) else None for x in leaves]

    def packed(carry):
        return [jax.random.key_data(x) if is_key(x) else x for x in jax.tree.leaves(carry)]

    def unpacked(leaves):
        pairs = zip(leaves, kinds, strict=True)
        return treedef.unflatten(
            x if kind is None else jax.random.wrap_key_data(x, impl=kind) for x, kind in pairs
        )

    @jax.checkpoint
    def one(leaves, start):
        if truncate:
            leaves = jax.lax.stop_gradient(leaves)
        carry, outputs = jax.lax.scan(step, unpacked(leaves), start + jnp.arange(segment))
        return packed(carry), outputs

    leaves, outputs = jax.lax.scan(one, packed(carry), jnp.arange(0, num_steps, segment))
    outputs = jax.tree.map(lambda x: x.reshape(num_steps, *x.shape[2:]), outputs)
    return unpacked(leaves), outputs


def _check_samples(name: str, what: str, count: Any) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or count < 2:
        raise ValueError(f"{name}: {what} must be an integer >= 2, got {count!r}.")


def _floating(parameters: PyTree) -> PyTree:
    """The parameters as arrays; raises TypeError unless all are floating."""
    parameters = jax.tree.map(jnp.asarray, parameters)
    for path, leaf in jax.tree_util.tree_leaves_with_path(parameters):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(
                f"parameters{jax.tree_util.keystr(path)} has dtype {leaf.dtype}: only floating "
                "parameters have gradients; close over the others."
            )
    return parameters


def _numbered(key: Key, count: int) -> Key:
    """`count` keys; the first ones are the same for any count."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(as_key(key), jnp.arange(count))


def _summary(values: Array, grads: PyTree) -> Estimate:
    """Means over the leading axis, and the standard errors of the gradient's."""
    root = jnp.sqrt(values.shape[0])
    return Estimate(
        values.mean(),
        jax.tree.map(lambda g: g.mean(0), grads),
        jax.tree.map(lambda g: g.std(0, ddof=1) / root, grads),
    )
