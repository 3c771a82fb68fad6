"""Training nets on arrays, all seeds of an algorithm in one program.

Everything that the experiments share about training: the net, the optimizer around an analog
algorithm, and a population run that records accuracy, loss, tracking error and pulses per epoch.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import sptrack as spt
from experiments.nets import NetConfig, ResNetConfig, make_net

UNITS = {  # of what is recorded: unit and long name
    "test_accuracy": ("1", "test accuracy"),
    "train_loss": ("nat", "training loss"),
    "sp_rms_error": ("weight", "RMS error of the tracked or given symmetric point"),
    "weight_rms": ("weight", "RMS of the weights on the main array"),
    "pulses_calibration": ("pulse/cell", "calibration pulses"),
    "pulses_training": ("pulse/cell", "training pulses"),
    "pulses_transfer": ("pulse/cell", "transfer pulses"),
}


OF_NETS = ("test_accuracy", "train_loss")  # the others are of arrays


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How a net is trained.

    Attributes:
      net: the net.
      epochs: passes over the training set.
      batch_size: examples per step.
      digital_rate: learning rate of scales and biases (and of all weights in digital SGD).
      decay_at: share of the run after which learning rates fall; several, if more than once.
      digital_decay: factor by which the digital rate falls each time.
      analog_decay: the same for the rates on arrays.
    """

    net: NetConfig | ResNetConfig
    epochs: int
    batch_size: int = 10
    digital_rate: float = 0.1
    decay_at: float | tuple[float, ...] = 0.5
    digital_decay: float = 0.3
    analog_decay: float = 1.0


def steps_per_epoch(config: TrainConfig, dataset: Any) -> int:
    """Whole batches in the training set."""
    return len(dataset.train_labels) // config.batch_size


def falling(rate: float, factor: float, config: TrainConfig, dataset: Any) -> optax.Schedule:
    """A rate that falls by `factor` after each of the shares `decay_at` of the run."""
    total = config.epochs * steps_per_epoch(config, dataset)
    ends = [int(total * share) for share in np.atleast_1d(config.decay_at)]
    return optax.piecewise_constant_schedule(rate, {end: factor ** ends.count(end) for end in ends})


def member_keys(seeds: Any, *, fast_random: bool) -> Any:
    """One key per seed, which depends on nothing but the seed."""
    root = (spt.random.fast_key if fast_random else jax.random.key)(0)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(root, jnp.asarray(seeds))


def train_population(
    make_analog: Callable[..., optax.GradientTransformation],
    config: TrainConfig,
    dataset: Any,
    keys: Any,
    *,
    numbers: dict[str, Any] | None = None,
    progress: bool | str = False,
    checkpoint: Path | None = None,
) -> dict[str, np.ndarray]:
    """Trains one net per key and records after every epoch.

    Args:
      make_analog: (key, **numbers) -> the transformation for analog weights, as each member of the
        population gets it; digital parameters get SGD.
      config: how to train.
      dataset: an `experiments.data.Dataset`.
      keys: typed keys, one per member.
      numbers: name -> a number per member, e.g. rates or reference means: what members differ in
        besides their key. One program trains them all.
      progress: whether to show a bar, or its title.
      checkpoint: file that keeps the training after every epoch; the same call continues there.

    Returns:
      Arrays of shape (members, epochs): test_accuracy, train_loss (mean over the epoch),
      sp_rms_error (of the tracked or given symmetric point over cells that were pulsed; NaN without
      a residual array), weight_rms (of W; NaN in digital SGD), and pulses per cell
      pulses_calibration, pulses_training, pulses_transfer.
    """
    numbers = {name: jnp.asarray(values, float) for name, values in (numbers or {}).items()}
    start, step, record = member(make_analog, config, dataset, keys[0])
    states, drawn = jax.jit(jax.vmap(start))(keys, numbers)
    states, axes = share_counts(states)
    data = {"x": dataset.train_images, "y": dataset.train_labels}
    data |= {"test_x": dataset.test_images, "test_y": dataset.test_labels}
    data = jax.tree.map(jnp.asarray, data) | {"drawn": drawn, "numbers": numbers}
    steps = jax.vmap(step, in_axes=(axes, 0, None, 0, None), out_axes=axes)
    records = jax.vmap(record, in_axes=(axes, 0, None))
    _, found = spt.simulate.run(
        lambda states, t, data: steps(states, data["numbers"], t, data["drawn"], data),
        states,
        outer_steps=config.epochs,
        inner_steps=steps_per_epoch(config, dataset),
        record=lambda states, data: records(states, data["drawn"], data),
        data=data,
        progress=progress,
        checkpoint=checkpoint,
        donate=True,
    )
    return {name: np.moveaxis(values, 0, 1) for name, values in found.items()}


def member(
    make_analog: Callable[..., optax.GradientTransformation],
    config: TrainConfig,
    dataset: Any,
    some_key: jax.Array,
) -> tuple[Callable, Callable, Callable]:
    """One member of the population as pure functions: (start, step, record).

    start(key, numbers) -> (state, what is drawn once: order of examples, key of reads);
    step(state, numbers, t, drawn, data) -> state; record(state, drawn, data) -> what is kept of an
    epoch. `some_key` only has to be of the right kind: each member's own key is in its state since
    init. Reads of the test set have the same noise in every epoch.
    """
    graph, params, rest = nnx.split(make_net(config.net, nnx.Rngs(0)), nnx.Param, ...)
    labels, per_epoch = spt.nn.labels(params), steps_per_epoch(config, dataset)
    digital = optax.sgd(falling(config.digital_rate, config.digital_decay, config, dataset))

    def logits(params, images, key):
        net = nnx.merge(graph, params, rest)
        return (net if config.net.read_path == "none" else spt.nn.seed_reads(net, key))(images)

    def loss(params, images, labels, key):
        found = logits(params, images, key)
        return optax.softmax_cross_entropy_with_integer_labels(found, labels).mean()

    def optimizer(key, numbers):
        analog = make_analog(key, **numbers)
        return optax.partition({"analog": analog, "digital": digital}, labels)

    def start(key, numbers):
        net_key, array_key, data_key, read_key = (jax.random.fold_in(key, n) for n in range(4))
        net = make_net(config.net, nnx.Rngs(net_key))
        params = nnx.as_pure(nnx.split(net, nnx.Param, ...)[1])
        drawn = {"order": _batches(data_key, config, dataset), "read_key": read_key}
        return (params, optimizer(array_key, numbers).init(params), jnp.zeros(())), drawn

    def step(state, numbers, t, drawn, data):
        params, opt_state, loss_sum = state
        update = optimizer(some_key, numbers).update
        batch, key = drawn["order"][t], jax.random.fold_in(drawn["read_key"], t)
        value, grads = jax.value_and_grad(loss)(params, data["x"][batch], data["y"][batch], key)
        updates, opt_state = update(grads, opt_state, params)
        # A sum over the whole run would swallow the small losses of its end.
        loss_sum = jnp.where(t % per_epoch == 0, 0.0, loss_sum) + value
        return optax.apply_updates(params, updates), opt_state, loss_sum

    def record(state, drawn, data):
        params, opt_state, loss_sum = state
        key = jax.random.fold_in(drawn["read_key"], per_epoch * config.epochs)
        accuracy = accuracy_of(
            lambda x, key: logits(params, x, key), data, key, config.net.test_batch
        )
        found = {"test_accuracy": accuracy, "train_loss": loss_sum / per_epoch}
        return found | _array_record(opt_state)

    return start, step, record


def accuracy_of(logits: Callable[..., Any], data: Any, key: Any, batch: int | None) -> Any:
    """Share of the test set that `logits(images, key)` gets right, `batch` images at a time."""
    x, y = data["test_x"], data["test_y"]
    if batch is None:
        return (logits(x, key).argmax(-1) == y).mean()
    batch = min(batch, len(y))
    missing = -len(y) % batch  # filled up with images of no class
    x = jnp.pad(x, ((0, missing), (0, 0))).reshape(-1, batch, x.shape[-1])
    labels = jnp.pad(y, (0, missing), constant_values=-1).reshape(-1, batch)

    def right(part):
        images, labels, number = part
        return (logits(images, jax.random.fold_in(key, number)).argmax(-1) == labels).sum()

    return jax.lax.map(right, (x, labels, jnp.arange(len(x)))).sum() / len(y)


def share_counts(states: Any) -> tuple[Any, Any]:
    """One step count for the whole population, and the axes for `jax.vmap` that go with it.

    Members count alike. With a count of its own each member would read another column, and XLA
    would have to gather and scatter where it can slice.
    """

    def is_count(path):
        return getattr(path[-1], "name", None) == "count"

    axes = jax.tree_util.tree_map_with_path(lambda path, _: None if is_count(path) else 0, states)
    shared = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf[0] if is_count(path) else leaf, states
    )
    return shared, axes


def _batches(key, config: TrainConfig, dataset: Any):
    """Example numbers of every step, shape (steps, batch): a new permutation in each epoch."""
    size, steps = len(dataset.train_labels), steps_per_epoch(config, dataset)

    def epoch(number):
        order = jax.random.permutation(jax.random.fold_in(key, number), size)
        return order[: steps * config.batch_size].reshape(steps, config.batch_size)

    batches = jax.lax.map(epoch, jnp.arange(config.epochs))
    return batches.reshape(-1, config.batch_size)


def _array_record(opt_state: Any) -> dict[str, Any]:
    """Tracking error and pulses per cell of one member; NaN where there is nothing to report."""
    nan = jnp.asarray(jnp.nan)
    try:
        counts = spt.pulse_counts(opt_state)
    except ValueError:  # digital SGD
        return dict.fromkeys([name for name in UNITS if name not in OF_NETS], nan)
    record = {f"pulses_{name}": _mean_over_cells(tree) for name, tree in counts.items()}
    arrays = spt.read_arrays(opt_state)
    record["weight_rms"] = jnp.sqrt(jnp.mean(_all_cells(arrays["weight"]) ** 2))
    if "held_sp" not in arrays:
        return record | {"sp_rms_error": nan}
    tracked = arrays.get("tracked_sp", arrays["held_sp"])
    truth = spt.optimizers.residual_symmetric_points(opt_state)
    errors = _all_cells(jax.tree.map(lambda q, s: (q - s) ** 2, tracked, truth))
    pulsed = _all_cells(jax.tree.map(lambda n: n > 0, counts["training"]))
    return record | {"sp_rms_error": jnp.sqrt(jnp.mean(errors, where=pulsed))}


def _all_cells(tree: Any):
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])


def _mean_over_cells(tree: Any):
    return _all_cells(jax.tree.map(lambda n: n.astype(jnp.float32), tree)).mean()
