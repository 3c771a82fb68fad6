"""Speed: time of one training step of the MNIST net, E-RIDER beside digital SGD in the same run.

    python -m experiments.benchmark --help

Images are random numbers of MNIST's shape, so no data set is needed. A program runs `steps` steps
in a scan, `repeats` times; the least time counts, because everything else on a machine only adds.
Programs take turns, so that a change of the machine's load meets all of them.
"""

import dataclasses
import platform
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import sptrack as spt
from experiments.nets import Net, NetConfig

NET = NetConfig((784, 256, 128, 10), "sigmoid")


@dataclasses.dataclass(frozen=True)
class Config:
    """Time one training step.

    Attributes:
      batch: examples per step.
      steps: steps per timing.
      repeats: timings of which the least counts.
      smoke: few steps, to see that everything works.
    """

    batch: int = 10
    steps: int = 200
    repeats: int = 5
    smoke: bool = False


def optimizers() -> dict[str, Any]:
    """The programs that are timed: name -> transformation of the analog weights."""
    spec = spt.presets.reram_array_hfo2(reference_mean=0.4, reference_std=0.4)

    def erider(key, **options):
        return spt.erider(
            0.5, residual_spec=spec, weight_spec=spec, transfer_rate=0.05, key=key, **options
        )

    slow, fast = jax.random.key(0), spt.random.fast_key(0)
    return {
        "digital SGD": optax.sgd(0.1),
        "analog SGD": spt.analog_sgd(0.1, weight_spec=spec, key=slow),
        "E-RIDER, whole matrix": erider(slow),
        "E-RIDER, column per step": erider(slow, transfer=spt.ColumnTransfer()),
        "E-RIDER, column, fast key": erider(fast, transfer=spt.ColumnTransfer()),
    }


def program(analog: Any, config: Config) -> tuple[Any, tuple]:
    """The compiled scan over steps and its arguments."""
    graph, variables, rest = nnx.split(Net(NET, nnx.Rngs(0)), nnx.Param, ...)
    tx = optax.partition({"analog": analog, "digital": optax.sgd(0.1)}, spt.nn.labels(variables))
    params = nnx.as_pure(variables)
    image_key, label_key = jax.random.split(jax.random.key(1))
    shape = (config.steps, config.batch)
    images = jax.random.uniform(image_key, (*shape, NET.sizes[0]))
    labels = jax.random.randint(label_key, shape, 0, NET.sizes[-1])

    def loss(params, images, labels):
        logits = nnx.merge(graph, params, rest)(images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def step(carry, batch):
        params, state = carry
        updates, state = tx.update(jax.grad(loss)(params, *batch), state, params)
        return (optax.apply_updates(params, updates), state), None

    def steps(params, state, batches):
        return jax.lax.scan(step, (params, state), batches)[0]

    arguments = (params, jax.jit(tx.init)(params), (images, labels))
    return jax.jit(steps).lower(*arguments).compile(), arguments


def measure(config: Config) -> list[dict[str, Any]]:
    """One row per program: compile time, least time per step, ratio to digital SGD, state bytes."""
    rows, programs = [], {}
    for name, analog in optimizers().items():
        begin = time.perf_counter()
        programs[name] = program(analog, config)
        state = jax.tree.leaves(programs[name][1][1])
        rows.append(
            {
                "program": name,
                "compile_s": time.perf_counter() - begin,
                "state_bytes": sum(leaf.nbytes for leaf in state if hasattr(leaf, "nbytes")),
            }
        )
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(config.repeats + 1):  # the first round warms up
        for name, (compiled, arguments) in programs.items():
            begin = time.perf_counter()
            jax.block_until_ready(compiled(*arguments))
            times[name].append(time.perf_counter() - begin)
    for row in rows:
        row["step_ms"] = 1e3 * min(times[row["program"]][1:]) / config.steps
    for row in rows:
        row["ratio"] = row["step_ms"] / rows[0]["step_ms"]
    return rows


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    config = tyro.cli(Config, args=arguments, prog="python -m experiments.benchmark")
    if config.smoke:
        config = dataclasses.replace(config, steps=5, repeats=1)
    if min(config.batch, config.steps, config.repeats) < 1:
        raise SystemExit(f"--batch, --steps and --repeats must be at least 1, got {config}.")
    device = jax.devices()[0]
    versions = f"jax {jax.__version__}, optax {optax.__version__}, numpy {np.__version__}"
    print(f"{platform.machine()}, {device.platform} ({device.device_kind}); {versions}")
    sizes = "-".join(map(str, NET.sizes))
    print(f"net {sizes}, batch {config.batch}, one instance, {jnp.zeros(()).dtype}")
    rows = measure(config)
    print(f"{'program':28}{'ms per step':>12}{'ratio':>8}{'compile s':>11}{'state MB':>10}")
    for row in rows:
        print(
            f"{row['program']:28}{row['step_ms']:12.3f}{row['ratio']:8.1f}"
            f"{row['compile_s']:11.1f}{row['state_bytes'] / 1e6:10.2f}"
        )


if __name__ == "__main__":
    main()
