"""Time of one training step of the MNIST net, per member of a population of nets.

784-256-128-10, sigmoid, batch 10, cells of `reram_array_hfo2` with offsets 0.4 ± 0.4 and cycle
noise on both arrays, exact pulses, a column of the residual array read per step. A program takes
`steps` steps in a scan and goes on from where it was, so that nets learn while they are timed.
"""

import itertools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import sptrack as spt
from experiments import benchmark_clock as clock
from experiments import study
from experiments.nets import Net, NetConfig
from experiments.training import share_counts

NET = NetConfig((784, 256, 128, 10), "sigmoid", weight_range=0.6)
CELLS = sum(a * b for a, b in itertools.pairwise(NET.sizes))
BATCH, EXAMPLES = 10, 2000
# Rates of the residual array, ours and aihwkit's, by how many pulses they make: a few hundred per
# step (at which E-RIDER learns MNIST), a thousand, hardly any.
RATES = {"": 8.0, ", many pulses": 64.0, ", few pulses": 0.02}
PEER_RATES = {"": 0.1, ", many pulses": 0.5, ", few pulses": 0.02}
PEERS = {  # of our rows: those of aihwkit that do the like
    "E-RIDER": "aihwkit, chopped",
    "E-RIDER, many pulses": "aihwkit, chopped, many pulses",
    "E-RIDER, few pulses": "aihwkit, chopped, few pulses",
    "E-RIDER, normals from bits": "aihwkit, chopped",
    "E-RIDER, default key": "aihwkit, chopped",
    "AGAD": "aihwkit, AGAD",
    "TT-v2": "aihwkit, TT-v2",
}


def data() -> tuple[np.ndarray, np.ndarray]:
    """Random images of MNIST's shape and the labels that a random linear map gives them."""
    rng = np.random.default_rng(0)
    images = rng.random((EXAMPLES, NET.sizes[0])).astype(np.float32)
    teacher = rng.normal(size=(NET.sizes[0], NET.sizes[-1]))
    return images, ((images - 0.5) @ teacher).argmax(1).astype(np.int32)


def optimizers(key: Any) -> dict[str, Any]:
    """Transformations of the analog weights, by the name of their row."""
    spec = spt.presets.reram_array_hfo2(reference_mean=0.4, reference_std=0.4)
    shared: dict[str, Any] = {
        "residual_spec": spec,
        "weight_spec": spec,
        "transfer": spt.ColumnTransfer(),
        "method": "exact",
        "key": key,
    }

    def erider(rate):
        return spt.erider(rate, transfer_rate=0.1, gamma=0.1, eta=1.0, chop_prob=0.2, **shared)

    return {
        "digital SGD": optax.sgd(0.1),
        **{f"E-RIDER{label}": erider(rate) for label, rate in RATES.items()},
        "AGAD": spt.agad(RATES[""], transfer_rate=0.1, chop_prob=0.2, **shared),
        "TT-v2": spt.ttv2(RATES[""], transfer_rate=0.1, **shared),
    }


def programs(populations: tuple[int, ...], steps: int, *, few: bool) -> list[clock.Program]:
    """All optimizers with the first population, E-RIDER with each; `few` of them for a trial.

    Everything draws from a fast key; E-RIDER also from one with normals from bits, and from the
    default key.
    """
    first, *others = populations
    if few:
        known = optimizers(spt.random.fast_key(0))
        return [program(name, known[name], first, steps) for name in ("digital SGD", "E-RIDER")]
    fast, bits = spt.random.fast_key(0), spt.random.fast_key(0, normal="bits")
    found = [program(name, tx, first, steps) for name, tx in optimizers(fast).items()]
    for label, key in (("normals from bits", bits), ("default key", jax.random.key(0))):
        found.append(program(f"E-RIDER, {label}", optimizers(key)["E-RIDER"], first, steps))
    return found + [program("E-RIDER", optimizers(fast)["E-RIDER"], n, steps) for n in others]


def program(name: str, analog: Any, members: int, steps: int) -> clock.Program:
    """The compiled scan over steps for some members, and what is known of it."""
    graph, variables, rest = nnx.split(Net(NET, nnx.Rngs(0)), nnx.Param, ...)
    tx = optax.partition({"analog": analog, "digital": optax.sgd(0.1)}, spt.nn.labels(variables))
    images, labels = map(jnp.asarray, data())

    def loss(params, x, y):
        logits = nnx.merge(graph, params, rest)(x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def init(index):
        net = Net(NET, nnx.Rngs(jax.random.fold_in(jax.random.key(1), index)))
        params = nnx.as_pure(nnx.split(net, nnx.Param, ...)[1])
        return params, tx.init(params)

    def step(carry, batch):
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params, *batch)
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), value

    states, axes = share_counts(jax.jit(jax.vmap(init))(jnp.arange(members)))

    def advance(states, t):
        order = (t * BATCH + jnp.arange(steps * BATCH)) % EXAMPLES
        batches = jax.tree.map(
            lambda a: a[order].reshape(steps, BATCH, *a.shape[1:]), (images, labels)
        )
        mapped = jax.vmap(step, in_axes=(axes, None), out_axes=(axes, 0))
        return jax.lax.scan(mapped, states, batches)

    begin = time.perf_counter()
    compiled = jax.jit(advance, donate_argnums=0).lower(states, 0).compile()
    compile_s = time.perf_counter() - begin
    held: dict[str, Any] = {"states": states, "t": 0, "losses": None}
    memory = compiled.memory_analysis()
    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(states) if hasattr(leaf, "nbytes"))

    def call():
        held["states"], held["losses"] = clock.finished(compiled(held["states"], held["t"]))
        held["t"] += steps

    def after():
        return {
            "loss": float(jnp.mean(held["losses"][-1])),
            "pulses_per_step": _pulses(held["states"][1]) / (held["t"] * members),
        }

    about = {
        "members": members,
        "compile_s": compile_s,
        "state_bytes_per_cell": state_bytes / members / CELLS,
        "peak_mb": (memory.argument_size_in_bytes + memory.temp_size_in_bytes) / 1e6,
    }
    moved = 2 * state_bytes / members
    return clock.Program(name, call, steps * members, moved, about, after, PEERS.get(name, ""))


def _pulses(state: Any) -> float:
    """Pulses that all cells of all members have had in training and transfer; NaN if not analog."""
    try:
        counts = spt.pulse_counts(state)
    except ValueError:
        return float("nan")
    return sum(float(leaf.astype(jnp.float32).sum()) for leaf in jax.tree.leaves(counts))


def rows(records: study.Records) -> list[dict[str, Any]]:
    """One row per program: ms per step and member, over a copy, over aihwkit where it took part."""
    return clock.rows(records, "ms_per_step", 1e3)
