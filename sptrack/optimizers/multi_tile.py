"""Residual learning on several arrays, each a finer scale than the one before: Li et al. 2025.

2510.02516; with a static reference per array as there, or with tracked symmetric points and a
chopper on every array, which nobody has published.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sptrack._random import as_key, purpose_key
from sptrack._typing import Array, Key, PyTree, ScalarOrSchedule
from sptrack.optimizers.column_transfer import ColumnTransfer
from sptrack.optimizers.residual_state import Rates, ResidualState
from sptrack.optimizers.residual_training import (
    check_rates,
    descended,
    init_choppers,
    init_programming,
    rates_at,
)
from sptrack.optimizers.settings import Settings
from sptrack.optimizers.starts import Start, at_first_read, at_reference
from sptrack.optimizers.transfer import transfer as transferred
from sptrack.pulses import PulseTrain
from sptrack.pulses.train import DEFAULT_TRAIN
from sptrack.theory import composite_weight
from sptrack.transforms.apply_device import check_spec, difference
from sptrack.transforms.arrays import ArrayState, init_array, read, relax_array
from sptrack.transforms.chop import modulate, value_at


class MultiTileState(NamedTuple):
    """State of `spt.multi_tile`; tuples have an entry per residual array, W^(1) ... W^(N).

    Attributes:
      count: steps done.
      key: root of this optimizer's random streams.
      weight: the array W^(0).
      residuals: the arrays W^(1) ... W^(N); the last one sees gradients.
      tracked_sp: Q of every residual array; None without tracking.
      held_sp: Q~ of every residual array, or its static reference.
      chopper: signs c of every residual array; None without a chopper.
      gamma: scale between one array and the next; scalar.
      programming: how often all Q~ were rewritten, if pulses are counted in detail; else None.
      flip_clocks: when relaxed choppers flip next, of every residual array; else None.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> ideal = spt.IdealStep()
      >>> tx = spt.multi_tile(0.1, num_tiles=3, residual_spec=ideal, weight_spec=ideal,
      ...                     transfer_rate=0.1, gamma=0.5, key=jax.random.key(0))
      >>> list(tx.init(jnp.zeros(2)).arrays())
      ['weight', 'residual_1', 'residual']
    """

    count: Array
    key: Key
    weight: ArrayState
    residuals: tuple[ArrayState, ...]
    tracked_sp: tuple[PyTree, ...] | None
    held_sp: tuple[PyTree, ...]
    chopper: tuple[PyTree, ...] | None
    gamma: Array
    programming: PyTree | None = None
    flip_clocks: tuple[PyTree, ...] | None = None

    def arrays(self) -> dict[str, ArrayState]:
        """W^(0) as "weight", then "residual_1" ..., and what sees gradients as "residual"."""
        return {"weight": self.weight, **_named("residual", self.residuals)}

    def digital(self) -> dict[str, PyTree]:
        """Q, Q~ and choppers of all residual arrays, named like these."""
        names = ("tracked_sp", "held_sp", "chopper")
        parts = [_named(name, getattr(self, name) or ()) for name in names]
        return parts[0] | parts[1] | parts[2]

    def effective_weights(self, residual: bool = True) -> PyTree:
        """W_bar = sum of gamma^n c_n (W^(n) - R_n), what the model sees; or W^(0) alone."""
        tiles = [read(self.weight)]
        if residual:
            tiles += [self._demodulated(n) for n in range(len(self.residuals))]

        def composite(*parts):
            return composite_weight(parts, self.gamma.astype(parts[0].dtype))

        return jax.tree.map(composite, *tiles)

    def _demodulated(self, n: int) -> PyTree:
        """c (W - R) of residual array n from 0; R is Q where nothing is ever synchronised."""
        if self.chopper is None:
            reference = self.held_sp if self.tracked_sp is None else self.tracked_sp
            return jax.tree.map(jnp.subtract, read(self.residuals[n]), reference[n])
        left = jax.tree.map(jnp.subtract, read(self.residuals[n]), self.held_sp[n])
        return modulate(self.chopper[n], left)


def multi_tile(
    learning_rate: ScalarOrSchedule,
    *,
    residual_spec: Any,
    weight_spec: Any,
    transfer_rate: ScalarOrSchedule,
    gamma: ScalarOrSchedule,
    num_tiles: int = 4,
    transfer_every: int | Sequence[int] = 1,
    reference: str | float = "zero",
    eta: ScalarOrSchedule | None = None,
    chop_prob: ScalarOrSchedule | None = None,
    chopper: str | None = None,
    transfer: ColumnTransfer | None = None,
    key: Key,
    method: str = "aggregate",
    train: PulseTrain = DEFAULT_TRAIN,
    count: str = "total",
) -> optax.GradientTransformationExtraArgs:
    """Residual learning on N + 1 arrays: each learns what is left over by those before it.

        W^(N) <- AU(W^(N), -alpha c_N g)                             (L1)
        e_n = c_n (W^(n) - R_n)                                      (L2)
        W^(n) <- AU(W^(n), beta c_n e_{n+1})   for n = N - 1 ... 0   (L3)  when its turn has come
        W_bar = W^(0) + sum over n = 1 ... N of gamma^n e_n          (L4)

    W^(n+1) is transferred after every T_{n+1} changes of W^(n+1) by gradients or by transfers, so
    every T_N T_{N-1} ... T_{n+1} steps. Nothing is reset. Li et al. have c = 1 and R = 0, and take
    T = O(1 / gamma), T_N = O(gamma^-N), beta = O(gamma^2), alpha = O(1), gamma <= 1 / sqrt(6), with
    gamma about 1 / states; `spt.theory.multi_tile_error_scale` has their error. aihwkit counts
    tiles the other way round. Not modelled: their warm start, which trains array after array first.

    With `eta` every residual array has its own filter Q_n, taking reads of W^(n) when it is
    transferred; with `chop_prob` also its own chopper and Q~_n, as in `spt.erider`. Tracking
    without a chopper is RIDER on every array, with RIDER's invariant. One residual array with
    transfer_every=1 is, bit for bit, `spt.residual_learning`, `spt.rider` or `spt.erider`.

    Args:
      learning_rate: alpha >= 0, on W^(N); number or schedule.
      residual_spec: what the devices of W^(1) ... W^(N) are sampled from.
      weight_spec: what the devices of W^(0) are sampled from.
      transfer_rate: beta >= 0, the same for all transfers; number or schedule.
      gamma: scale between one array and the next, >= 0; number or schedule.
      num_tiles: number of arrays, N + 1 >= 2.
      transfer_every: T, integers >= 1: one for all arrays, or (T_1, ..., T_N).
      reference: R of every residual array without `eta`: "zero"; "true", the cells' true symmetric
        points; or a number. Arrays start there; with `eta`, Q = Q~ starts at the first read.
      eta: rate of the filters, in [0, 1]; None tracks nothing.
      chop_prob: flip probability in [0, 1] per transfer, or per read of a column with `transfer`;
        None has no choppers.
      chopper: "scalar" (default for whole matrices), "random" or "periodic" (default with
        `transfer`); "relaxed_..." for derivatives in p. See `sptrack.transforms.chop`.
      transfer: a `ColumnTransfer`: each transfer reads the next lines; None transfers whole
        matrices. Its `transfer_every` is given here instead, and the model sees arrays live.
      key: a JAX random key.
      method: "aggregate", "exact" or "mean", as in `spt.analog_update`.
      train: a `PulseTrain`: how gradients that are `spt.Factors` become pulses.
      count: what is counted of pulses, "total", "detailed" (`spt.pulse_details`) or "none".

    Returns:
      An optax gradient transformation; must be the last link of a chain.

    Raises:
      TypeError: if `key` is no key or a spec no spec.
      ValueError: for an unknown option, a number out of range, or options that contradict.

    Example:
      >>> import jax, jax.numpy as jnp, optax, sptrack as spt
      >>> ideal = spt.IdealStep()
      >>> tx = spt.multi_tile(1.0, num_tiles=3, residual_spec=ideal, weight_spec=ideal,
      ...                     transfer_rate=0.1, gamma=0.5, key=jax.random.key(0))
      >>> params = jnp.zeros(2)
      >>> state = tx.init(params)
      >>> for _ in range(2):  # W^(2) = -1, -2; W^(1) = -0.1, -0.3; W^(0) = -0.01, -0.04
      ...     updates, state = tx.update(jnp.ones(2), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> print(params.round(2)[0])  # -0.04 - 0.3 / 2 - 2 / 4
      -0.69
    """
    hyper = Rates(learning_rate, transfer_rate, gamma, eta, chop_prob)
    intervals = _intervals(num_tiles, transfer_every)
    _check(hyper, residual_spec, weight_spec, reference, transfer)
    tracks = "tracked_sp" if eta is not None and chop_prob is None else "held_sp"
    settings = Settings(
        chopper=chopper or ("scalar" if transfer is None else "periodic"),
        w_ref=tracks,
        wbar_ref=tracks,
        transfer=transfer,
        method=method,
        train=train,
        count=count,
    )
    settings.check(has_chopper=chop_prob is not None)
    start = at_reference(reference) if eta is None else at_first_read
    root, specs = as_key(key), (weight_spec, residual_spec)

    def init(params) -> Any:
        return _started(root, params, specs, intervals, start, hyper, settings)

    def update(updates, state, params=None, **extra_args) -> tuple[Any, Any]:
        del extra_args
        step_key = jax.random.fold_in(state.key, state.count)
        rates = rates_at(hyper, state.count)
        moved = _moved(step_key, state, updates, intervals, rates, settings)
        state = _relaxed(step_key, moved, state)
        state = state._replace(count=state.count + 1, gamma=rates.gamma)
        return difference(state.effective_weights(), params), state

    return optax.GradientTransformationExtraArgs(init, update)


def _started(
    root: Key,
    params: PyTree,
    specs: tuple[Any, Any],
    intervals: tuple[int, ...],
    start: Callable[[Key, ArrayState], Start],
    hyper: Rates,
    settings: Settings,
) -> MultiTileState:
    """The state at params: W^(0) there, and the residual arrays at their references."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    how = {"method": settings.method, "count": settings.count}
    begins, choppers = [], []
    for n in range(len(intervals)):
        own = _own_key(root, n, len(intervals))
        array = init_array(purpose_key(own, "residual"), specs[1], zeros, **how)
        begins.append(start(purpose_key(own, "calibration"), array))
        choppers.append(init_choppers(own, zeros, hyper, settings))
    references = tuple(begin.reference for begin in begins)
    signs, _, clocks = (_tuple(trees) for trees in zip(*choppers, strict=True))
    return MultiTileState(
        count=jnp.zeros([], jnp.int32),
        key=root,
        weight=init_array(purpose_key(root, "weight"), specs[0], params, **how),
        residuals=tuple(begin.residual for begin in begins),
        tracked_sp=None if hyper.eta is None else references,
        held_sp=references,
        chopper=signs,
        gamma=value_at(hyper.gamma, jnp.zeros([], jnp.int32)),
        programming=init_programming(zeros, hyper.eta, hyper.p, settings.count),
        flip_clocks=clocks,
    )


def _moved(
    step_key: Key,
    state: MultiTileState,
    updates: PyTree,
    intervals: tuple[int, ...],
    rates: Rates,
    settings: Settings,
) -> MultiTileState:
    """(L1), and (L3) where its turn has come, from the last array to the first."""
    last = len(intervals) - 1
    pair = descended(step_key, _pair(state, last, 1), updates, rates, settings)
    state = _put_pair(state, last, pair)
    for n in reversed(range(len(intervals))):
        own, interval = _own_key(step_key, n, len(intervals)), intervals[n]
        due = interval == 1 or (state.count + 1) % interval == 0
        onto = None if n == 0 or state.chopper is None else state.chopper[n - 1]
        pair = transferred(own, _pair(state, n, interval), rates, settings, due, onto)
        state = _put_pair(state, n, pair)
    return state


def _pair(state: MultiTileState, n: int, interval: int) -> ResidualState:
    """Residual array n and the array before it, as the two arrays of one transfer.

    interval: steps between two of its transfers; `count` is the number of transfers so far.
    """
    return ResidualState(
        count=state.count // interval,
        key=state.key,
        residual=state.residuals[n],
        weight=state.residuals[n - 1] if n else state.weight,
        tracked_sp=None if state.tracked_sp is None else state.tracked_sp[n],
        held_sp=state.held_sp[n],
        chopper=None if state.chopper is None else state.chopper[n],
        out_chopper=None,
        buffer=None,
        demodulated=None,
        gamma=state.gamma,
        calibration_pulses=jnp.zeros([], jnp.uint32),
        programming=state.programming,
        flip_clocks=None if state.flip_clocks is None else state.flip_clocks[n],
    )


def _put_pair(state: MultiTileState, n: int, pair: ResidualState) -> MultiTileState:
    """The state with what a transfer of residual array n has changed."""
    residuals = _put(state.residuals, n, pair.residual)
    if n:
        residuals = _put(residuals, n - 1, pair.weight)
    return state._replace(
        weight=state.weight if n else pair.weight,
        residuals=residuals,
        tracked_sp=_put(state.tracked_sp, n, pair.tracked_sp),
        held_sp=_put(state.held_sp, n, pair.held_sp),
        chopper=_put(state.chopper, n, pair.chopper),
        programming=pair.programming,
        flip_clocks=_put(state.flip_clocks, n, pair.flip_clocks),
    )


def _tuple(trees: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """What belongs to the residual arrays, or None where there is no such thing."""
    return None if trees[0] is None else trees


def _put(trees: Any, n: int, tree: Any) -> Any:
    return None if trees is None else (*trees[:n], tree, *trees[n + 1 :])


def _relaxed(key: Key, state: MultiTileState, before: MultiTileState) -> MultiTileState:
    """All arrays at the next update, after what the time until then does to their cells."""
    number = len(state.residuals)
    keys = [purpose_key(_own_key(key, n, number), "residual") for n in range(number)]
    pairs = zip(keys, state.residuals, before.residuals, strict=True)
    weight = relax_array(purpose_key(key, "weight"), state.weight, before.weight)
    return state._replace(weight=weight, residuals=tuple(relax_array(*pair) for pair in pairs))


def _own_key(key: Key, n: int, number: int) -> Key:
    """The key of residual array n; the last one has that of algorithms with a single one."""
    return key if n == number - 1 else purpose_key(key, f"residual {n + 1}")


def _named(name: str, trees: tuple[Any, ...]) -> dict[str, Any]:
    """Names of what belongs to the residual arrays: "name_1" ..., the last one "name"."""
    last = len(trees) - 1
    return {name if n == last else f"{name}_{n + 1}": tree for n, tree in enumerate(trees)}


def _intervals(num_tiles: Any, transfer_every: Any) -> tuple[int, ...]:
    """Steps between two transfers of W^(1) ... W^(N)."""
    if type(num_tiles) is not int or num_tiles < 2:
        raise ValueError(
            f"num_tiles must be an integer >= 2, got {num_tiles!r}; one array is spt.analog_sgd."
        )
    each = transfer_every
    if isinstance(transfer_every, int):
        each = (transfer_every,) * (num_tiles - 1)
    if len(each) != num_tiles - 1 or any(type(one) is not int or one < 1 for one in each):
        raise ValueError(
            "transfer_every must be an integer >= 1 or one for each of the "
            f"{num_tiles - 1} residual arrays, W^(1) first; got {transfer_every!r}."
        )
    intervals, steps = [], 1
    for one in reversed(each):
        steps *= one
        intervals.append(steps)
    return tuple(reversed(intervals))


def _check(
    hyper: Rates, residual_spec: Any, weight_spec: Any, reference: Any, transfer: Any
) -> None:
    check_spec("residual_spec", residual_spec)
    check_spec("weight_spec", weight_spec)
    check_rates(hyper)
    if hyper.eta is None and hyper.p is not None:
        raise ValueError(
            "chop_prob without eta has nothing to synchronise; give eta, the rate of the filters."
        )
    if jax.tree.structure(reference).num_nodes > 1 or np.ndim(reference) > 0:
        raise ValueError(
            f"reference must be 'zero', 'true' or a number for all arrays, got {reference!r}."
        )
    if hyper.eta is not None and not (isinstance(reference, str) and reference == "zero"):
        raise ValueError(
            f"reference={reference!r} is static, but eta tracks one; leave one of them out."
        )
    if not isinstance(transfer, ColumnTransfer):
        return
    if transfer.transfer_every != 1:
        raise ValueError(
            "give transfer_every to spt.multi_tile, where each array has its own, instead of "
            f"ColumnTransfer(transfer_every={transfer.transfer_every})."
        )
    if transfer.visible == "stored":
        raise ValueError("multi_tile shows its arrays live; leave out visible='stored'.")
