"""The link that puts increments through an analog array."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from sptrack._random import as_key, purpose_key
from sptrack._typing import Array, Key, PyTree
from sptrack.pulses import PulseTrain
from sptrack.pulses.apply import check_method
from sptrack.pulses.coincidence import check_train
from sptrack.pulses.train import DEFAULT_TRAIN
from sptrack.transforms.arrays import ArrayState, init_array, read, relax_array, write
from sptrack.transforms.counting import check_count


class ApplyDeviceState(NamedTuple):
    """State of `apply_device`: the array's fields (see `ArrayState`), a step count and a key.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> tx = spt.apply_device(spt.IdealStep(), key=jax.random.key(0))
      >>> tx.init(jnp.array([0.5])).weight.hidden
      Array([0.5], dtype=float32)
    """

    count: Array
    key: Key
    weight: ArrayState

    def arrays(self) -> dict[str, ArrayState]:
        """The array, as "weight"."""
        return {"weight": self.weight}

    def digital(self) -> dict[str, PyTree]:
        """Nothing."""
        return {}


class AuxiliaryState(NamedTuple):
    """State of `apply_device` with emit="read": its array is an auxiliary one, "residual".

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> tx = spt.apply_device(spt.IdealStep(), key=jax.random.key(0), emit="read")
      >>> tx.init(jnp.array([0.5])).residual.hidden
      Array([0.], dtype=float32)
    """

    count: Array
    key: Key
    residual: ArrayState

    def arrays(self) -> dict[str, ArrayState]:
        """The array, as "residual"."""
        return {"residual": self.residual}

    def digital(self) -> dict[str, PyTree]:
        """Nothing."""
        return {}


def apply_device(
    spec,
    *,
    key: Key,
    method: str = "aggregate",
    emit: str = "update",
    train: PulseTrain = DEFAULT_TRAIN,
    count: str = "total",
) -> optax.GradientTransformationExtraArgs:
    """Puts increments through an analog array of the shape of the parameters.

    What comes in are wanted weight changes, in weight units and descending (e.g. after
    `optax.scale_by_learning_rate`). An array is rounded to pulses (`spt.analog_update`); factors,
    scaled like all updates, come as pulse trains (`spt.coincidence_update`). What goes out is

      emit="update": the array's weights minus params, so that `optax.apply_updates` lands on the
        array. Must be the last link of a chain. The array starts at params, clipped to its bounds;
        where that clips, the first update corrects params.
      emit="read": what a read of the array shows. The array starts at zero (clipped). This is an
        auxiliary array in front of further links, as in Tiki-Taka.

    Devices are sampled in `init`, so `jax.vmap` over `init` makes a population. A known device is
    put in by `optax.tree.set(state, device=my_tree_of_devices)`.

    Args:
      spec: what the array's devices are sampled from, e.g. `spt.SoftBounds()`.
      key: a JAX random key.
      method: "aggregate" (default: cost independent of pulse counts), "exact" or "mean".
      emit: "update" or "read".
      train: a `PulseTrain`: how increments that are `spt.Factors` become pulses.
      count: what is counted of pulses, "total", "detailed" (`spt.pulse_details`) or "none".

    Returns:
      An optax gradient transformation.

    Raises:
      TypeError: if `key` is no key or `spec` no spec; in `init`, if parameters aren't floating.
      ValueError: if `method`, `emit` or `count` is unknown; in `update`, if params are not given.

    Example:
      >>> import jax, jax.numpy as jnp, optax, sptrack as spt
      >>> key = jax.random.key(0)
      >>> tx = optax.chain(optax.scale(-0.1), spt.apply_device(spt.LinearResponse(), key=key))
      >>> params = jnp.array([0.5])
      >>> updates, state = tx.update(jnp.array([1.0]), tx.init(params), params)
      >>> print(optax.apply_updates(params, updates) < params)
      [ True]
    """
    check_method(method)
    check_spec("spec", spec)
    check_train(train)
    check_count(count)
    if emit not in ("update", "read"):
        raise ValueError(f"emit must be 'update' or 'read', got {emit!r}.")
    root = as_key(key)

    state_class: Any = ApplyDeviceState if emit == "update" else AuxiliaryState

    def init(params) -> Any:
        start = params if emit == "update" else jax.tree.map(jnp.zeros_like, params)
        array = init_array(purpose_key(root, "array"), spec, start, method=method, count=count)
        return state_class(jnp.zeros([], jnp.int32), root, array)

    def update(updates, state, params=None, **extra_args) -> tuple[Any, Any]:
        del extra_args
        steps, root, array = state
        step_key = jax.random.fold_in(root, steps)
        how = {"method": method, "train": train}
        written = write(purpose_key(step_key, "write"), array, updates, **how)
        array = relax_array(step_key, written, array)
        out = difference(read(array), params) if emit == "update" else read(array)
        return out, state_class(steps + 1, root, array)

    return optax.GradientTransformationExtraArgs(init, update)


def difference(effective: PyTree, params: PyTree) -> PyTree:
    """effective - params, what `optax.apply_updates` needs to land on the effective weights."""
    if params is None:
        raise ValueError(
            "params are needed, because a pulse's effect depends on the weight: call "
            "tx.update(grads, state, params)."
        )
    return jax.tree.map(lambda new, old: new - old, effective, params)


def check_spec(name: str, spec) -> None:
    """Raises TypeError unless `spec` is an instance that can be sampled."""
    if isinstance(spec, type) or not hasattr(spec, "sample"):
        raise TypeError(
            f"{name} must be a spec such as spt.SoftBounds() or spt.presets.reram_array_om(), "
            f"got {spec!r}."
        )
