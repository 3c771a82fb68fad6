"""What every optimizer promises to optax, to jit, vmap and scan, and to its user; one table.

Cells have everything switched on (cycle noise, write noise, offsets), so any reordering of random
streams shows. Unless a tolerance is given, equal means bit for bit. Steps run outside jit where jit
isn't the subject: every primitive compiles once, instead of every optimizer.
"""

import functools
import hashlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sptrack as spt
from tests.support import QUIET

SPEC = spt.presets.reram_array_om(reference_mean=0.4, reference_std=0.4)
COLUMNS = {
    "transfer": spt.ColumnTransfer(warm_up=False),
    "buffer": spt.DigitalBuffer(granularity=10.0),
}
HIDDEN = {"learning_rate": 0.3, "transfer_rate": 0.2}
RATES = {**HIDDEN, "gamma": 0.4}
ERIDER = {**RATES, "eta": 0.1, "chop_prob": 0.3}
# name: factory, numbers (all of them may be traced), static settings
TABLE = {
    "analog_sgd": (spt.analog_sgd, {"learning_rate": 0.3}, {}),
    "residual_learning": (spt.residual_learning, RATES, {"reference": "true"}),
    "two_stage": (spt.two_stage, RATES, {"num_pulses": 5}),
    "rider": (spt.rider, {**RATES, "eta": 0.1}, {}),
    "erider": (spt.erider, ERIDER, {}),
    "columns_residual_learning": (spt.residual_learning, RATES, COLUMNS),
    "columns_erider": (spt.erider, ERIDER, COLUMNS),
    "erider_released": (spt.erider_released, {**RATES, "chop_prob": 0.3}, COLUMNS),
    "tiki_taka": (spt.tiki_taka, HIDDEN, {}),
    "ttv2": (spt.ttv2, HIDDEN, COLUMNS),
    "chopped_ttv2": (spt.chopped_ttv2, {**RATES, "chop_prob": 0.3}, COLUMNS),
    "agad": (spt.agad, {**HIDDEN, "chop_prob": 0.3}, COLUMNS),
    "multi_tile": (spt.multi_tile, ERIDER, {"num_tiles": 3, "transfer_every": 1}),
    "mixed_precision": (spt.mixed_precision, {"learning_rate": 0.3, "granularity": 1.0}, {}),
}
ONE_ARRAY = ("analog_sgd", "mixed_precision")
BY_COLUMNS = [name for name, (_, _, static) in TABLE.items() if "transfer" in static]
everyone = pytest.mark.parametrize("name", TABLE)
STEPS = 3
WEIGHT = np.linspace(-0.2, 0.2, 6, dtype=np.float32).reshape(3, 2)
GRADS = np.random.default_rng(5).normal(size=(STEPS + 1, 3, 2)).astype(np.float32)


def specs_of(name, spec=SPEC):
    """The same spec for all arrays of an optimizer."""
    return {"weight_spec": spec} | ({} if name in ONE_ARRAY else {"residual_spec": spec})


def make(name, key, spec=SPEC, **changed):
    factory, numbers, static = TABLE[name]
    return factory(**{**specs_of(name, spec), **numbers, **static, "key": key, **changed})


def inject(name):
    """The factory under optax's injection, which takes every number for one that may be traced."""
    factory, _, static = TABLE[name]
    integers = [option for option, value in static.items() if isinstance(value, int)]
    return optax.inject_hyperparams(factory, static_args=("key", *integers))


def own_state(state):
    """The part of the state that has the arrays."""
    return state if hasattr(state, "weight") else state[-1]


def first_array(state):
    """Hidden weights of the array that gets gradients."""
    *_, last = own_state(state).arrays().values()
    return last.hidden["w"]


def params_of(dtype=jnp.float32, **others):
    return {"w": jnp.asarray(WEIGHT, dtype), **others}


def grads_of(params, k):
    """The gradients of step k: GRADS for "w", ones for other leaves."""
    return {n: jnp.asarray(GRADS[k], p.dtype) if n == "w" else jnp.ones_like(p)
            for n, p in params.items()}  # fmt: skip


def follow(tx, params, state=None, steps=range(STEPS), grads=grads_of):
    """Parameters and state after some steps, outside jit."""
    state = tx.init(params) if state is None else state
    for k in steps:
        updates, state = tx.update(grads(params, k), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def raw(tree):
    """Typed keys as their words, so that everything is a plain array."""
    return jax.tree.map(
        lambda x: np.asarray(
            jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        ),
        tree,
    )


def assert_bits(one, other):
    one, other = raw(one), raw(other)
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True
    ):
        where = jax.tree_util.keystr(path)
        assert (a.dtype, a.shape) == (b.dtype, b.shape), where
        assert a.tobytes() == b.tobytes(), (where, a, b)


@pytest.mark.keys_are_checked
@everyone
def test_no_key_is_used_twice(key, name):
    """JAX's own checker raises; two steps, because a state hands its key on."""
    follow(make(name, key), params_of(), steps=range(2))
    with pytest.raises(jax.errors.KeyReuseError):  # it is on
        _ = jax.random.bits(key), jax.random.bits(key)


@everyone
def test_extra_arguments_are_accepted_and_ignored(key, name):
    tx, params = make(name, key), params_of()
    state = tx.init(params)
    plain = tx.update(grads_of(params, 0), state, params)
    extra = tx.update(grads_of(params, 0), state, params, value=jnp.ones(()), nonsense="x")
    assert_bits(plain, extra)


@everyone
def test_params_are_required(key, name):
    tx, params = make(name, key), params_of()
    with pytest.raises(ValueError, match=r"params are needed.*tx\.update\(grads, state, params\)"):
        tx.update(grads_of(params, 0), tx.init(params))


DTYPES = {"float32": (jnp.float32, False), "bfloat16": (jnp.bfloat16, False),
          "float64": (jnp.float64, True), "float32 among float64": (jnp.float32, True)}  # fmt: skip


@everyone
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_structure_stay(key, name, dtype):
    """State and updates keep their dtypes, as scan and donation want; read off the trace.

    Rates are strongly typed float32, as from a schedule: they must not promote a bfloat16 array.
    """
    dtype, wide = DTYPES[dtype]
    with jax.enable_x64(wide):
        numbers = {k: jnp.asarray(v, jnp.float32) for k, v in TABLE[name][1].items()}
        tx, params = make(name, key, **numbers), params_of(dtype)
        before = jax.eval_shape(tx.init, params)
        updates, after = jax.eval_shape(tx.update, grads_of(params, 0), before, params)
        assert before == after
        assert updates["w"].dtype == dtype
        arrays = jax.eval_shape(spt.read_arrays, after)
        assert {
            array_name: tree["w"].dtype for array_name, tree in arrays.items()
        } == dict.fromkeys(arrays, dtype)
        assert jax.eval_shape(spt.eval_params, after, params)["w"].dtype == dtype


@everyone
def test_the_state_is_arrays(name):
    _, state = plain(name)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))


def test_bfloat16_trains(key):
    """Every array in bfloat16; 8 bits of mantissa move by at least their spacing."""
    tx, params = make("erider", key, spec=spt.LinearResponse(dw_min=0.05)), params_of(jnp.bfloat16)
    trained, _ = follow(tx, params)
    assert trained["w"].dtype == jnp.bfloat16
    assert np.all(np.asarray(trained["w"] != params["w"]))


# Optimizers that differ in what their states are made of: for tests that compile whole programs.
compiled = pytest.mark.parametrize(
    "name", ["analog_sgd", "erider", "columns_erider", "multi_tile", "mixed_precision"]
)


@compiled
def test_update_compiles_once_and_scan_is_the_loop(key, name):
    """That shapes and types of the state stay, for all, is tested above."""
    tx, params = make(name, key), params_of()
    begin = tx.init(params)
    update = jax.jit(tx.update)
    carry = params, begin
    for k in range(STEPS):
        updates, state = update(grads_of(params, k), carry[1], carry[0])
        carry = optax.apply_updates(carry[0], updates), state
    assert update._cache_size() == 1

    def step(carry, g):
        updates, state = tx.update({"w": g}, carry[1], carry[0])
        return (optax.apply_updates(carry[0], updates), state), None

    scanned, _ = jax.jit(lambda carry: jax.lax.scan(step, carry, GRADS[:STEPS]))((params, begin))
    assert_bits(scanned, carry)


def run_of(name, key, numbers, steps=STEPS):
    """Parameters and all arrays after some steps, from keys and numbers that may be traced."""
    params, state = follow(make(name, key, **numbers), params_of(), steps=range(steps))
    return params, own_state(state)._replace(key=None)


def populations(key, name):
    """Keys, and rates of their own for each of two members."""
    shares = jnp.array([1.0, 0.5])
    numbers = {k: jnp.float32(v) * shares for k, v in TABLE[name][1].items()}
    return jax.random.split(key, 2), numbers


def member(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


@everyone
def test_vmap_over_keys_and_numbers_is_single_runs(key, name):
    """A population with rates of its own each, init and update, operation by operation."""
    keys, numbers = populations(key, name)
    together = jax.vmap(functools.partial(run_of, name, steps=2))(keys, numbers)
    for i in range(2):
        assert_bits(run_of(name, keys[i], member(numbers, i), steps=2), member(together, i))
    assert not np.array_equal(*together[0]["w"])


@pytest.mark.parametrize("name", ["analog_sgd", "erider", "columns_erider"])
def test_compiled_populations_are_single_runs(key, name):
    """Pulses and signs are those of single runs; weights are up to their last bits.

    XLA may contract a * b + c to one rounding in one of the two programs (it does on CPUs with FMA,
    and with --xla_cpu_max_isa=AVX all is equal). A draw that differed would move a cell by a pulse,
    0.09 times its response.
    """
    keys, numbers = populations(key, name)
    run = functools.partial(run_of, name, steps=1)
    together, single = jax.jit(jax.vmap(run))(keys, numbers), jax.jit(run)
    for i in range(2):
        (alone, state), (params, arrays) = single(keys[i], member(numbers, i)), member(together, i)
        np.testing.assert_allclose(alone["w"], params["w"], rtol=0, atol=1e-5)
        pairs = [(state.weight, arrays.weight)]
        if name != "analog_sgd":
            pairs.append((state.residual, arrays.residual))
            assert_bits(state.chopper, arrays.chopper)
        for one, other in pairs:
            assert_bits(one.pulses, other.pulses)
            np.testing.assert_allclose(one.hidden["w"], other.hidden["w"], rtol=0, atol=1e-5)
            np.testing.assert_allclose(one.device["w"].up, other.device["w"].up, rtol=1e-5)
    assert single._cache_size() == 1  # numbers are traced


@everyone
def test_other_leaves_change_nothing(key, name):
    """Another leaf before "w" shifts its place among the leaves."""
    params, state = follow(make(name, key), params_of(), steps=range(2))
    more, more_state = follow(make(name, key), params_of(a=jnp.zeros((2, 2))), steps=range(2))
    assert_bits(params["w"], more["w"])
    arrays = zip(spt.read_arrays(state).items(), spt.read_arrays(more_state).items(), strict=True)
    for (array_name, one), (_, other) in arrays:
        assert set(other) == {"a", "w"}, array_name
        assert_bits(one["w"], other["w"])


def digests():
    """What two processes must agree on: the bits of devices, noise, choppers and both schedules."""
    out = {}
    for name, key in (
        ("two_stage", spt.random.fast_key(3)),
        ("columns_erider", spt.random.fast_key(3)),
        ("erider", jax.random.key(3)),
        ("erider", spt.random.fast_key(3)),
    ):
        leaves = jax.tree.leaves(raw(follow(make(name, key), params_of(), steps=range(2))))
        digest = hashlib.sha256(b"".join(x.tobytes() for x in leaves)).hexdigest()
        out[f"{name} {key.dtype}"] = digest
    return out


def test_two_processes_have_the_same_bits():
    root = Path(__file__).parents[2]
    code = "from tests.optimizers.test_contract import *; print(json.dumps(digests()))"
    there = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONHASHSEED": "77"},
    )  # fmt: skip
    here = digests()
    assert json.loads(there.stdout) == here
    assert len(set(here.values())) == 4


@everyone
def test_a_stored_state_continues(key, name):
    """Through NumPy and pickle (keys as their words), as a checkpoint would."""
    tx, params = make(name, key), params_of()
    params, state = follow(tx, params, steps=range(2))
    leaves, treedef = jax.tree.flatten((params, state))
    is_key = [jnp.issubdtype(x.dtype, jax.dtypes.prng_key) for x in leaves]
    stored = pickle.loads(pickle.dumps(raw(leaves)))
    restored = [
        jax.random.wrap_key_data(x, impl=jax.random.key_impl(key)) if k else x
        for x, k in zip(map(jnp.asarray, stored), is_key, strict=True)
    ]
    params_too, state_too = treedef.unflatten(restored)
    later = range(2, STEPS + 1)
    assert_bits(follow(tx, params, state, later), follow(tx, params_too, state_too, later))


@everyone
def test_a_nan_gradient_makes_only_its_cell_nan(key, name):
    """At once where gradients reach W; after the cell's column is read with a column schedule."""
    tx, params = make(name, key), params_of()

    def grads(params, k):
        return {"w": jnp.asarray(GRADS[k]).at[1, 0].set(jnp.nan if k == 0 else 1.0)}

    params, state = follow(tx, params, steps=range(2 if name in BY_COLUMNS else 1), grads=grads)
    nan = np.zeros((3, 2), bool)
    nan[1, 0] = True
    np.testing.assert_array_equal(np.isnan(params["w"]), nan)
    params, state = follow(tx, params, state, range(2, STEPS), grads)
    np.testing.assert_array_equal(np.isnan(params["w"]), nan)
    for array_name, tree in spt.read_arrays(state).items():
        if "chopper" not in array_name:
            assert not np.isnan(tree["w"])[~nan].any(), array_name


@everyone
def test_pulses_are_counted_and_write_noise_is_redrawn_by_pulses_only(key, name):
    """Constant steps of 0.01 without bounds in reach: |change| / 0.01 is the number of pulses."""
    spec = spt.ConstantStep(
        dw_min=0.01, write_noise_std=2.0, **{**QUIET, "w_max": 1e3, "w_min": -1e3}
    )
    changed = {"reference": "zero"} if "residual_learning" in name else {}
    tx, params = make(name, key, spec=spec, **changed), params_of()
    state = tx.init(params)
    total = dict.fromkeys(own_state(state).arrays(), 0)
    for k in range(8):
        before = own_state(state).arrays()
        params, state = follow(tx, params, state, [k % 4])
        for field, new in own_state(state).arrays().items():
            old = before[field]
            moved = np.abs(np.asarray(new.hidden["w"] - old.hidden["w"])) / 0.01
            counts = np.round(moved)
            np.testing.assert_allclose(moved, counts, rtol=0, atol=1e-3)  # rounding of float32
            total[field] = total[field] + counts
            redrawn = np.asarray(new.shown["w"] != old.shown["w"])
            np.testing.assert_array_equal(redrawn, counts != 0)
    pulses = spt.pulse_counts(state)
    *behind, training = total.values()
    np.testing.assert_array_equal(pulses["training"]["w"], training)
    np.testing.assert_array_equal(pulses["transfer"]["w"], sum(behind, 0 * training))
    assert all(counts.sum() > 3 for counts in total.values())
    assert pulses["training"]["w"].dtype == jnp.uint32


# Wrappers of optax. Each gives what the plain optimizer gives.


@functools.cache
def plain(name):
    """The run that wrappers are compared with: one leaf, seed 11."""
    return follow(make(name, jax.random.key(11)), params_of())


def made(name, **changed):
    return make(name, jax.random.key(11), **changed)


def assert_readable(state, params, leaves):
    """The three ways to look into a wrapped state give trees like the parameters."""
    masked = optax.MaskedNode
    for tree in [*spt.read_arrays(state).values(), *spt.pulse_counts(state).values()]:
        assert set(tree) == set(params)
        for leaf, value in tree.items():
            assert isinstance(value, masked) != (leaf in leaves)
            assert leaf not in leaves or jnp.ndim(value) in (0, params[leaf].ndim)
    effective = spt.eval_params(state, params)
    assert jax.tree.structure(effective) == jax.tree.structure(params)
    for leaf, value in effective.items():  # params + (W_bar - params) is W_bar up to rounding
        np.testing.assert_allclose(value, params[leaf], rtol=0, atol=1e-6)


@everyone
def test_plain_state_is_readable(name):
    params, state = plain(name)
    assert_readable(state, params, {"w"})
    bare = spt.eval_params(state, params, residual=False)
    assert_bits(bare, spt.read_arrays(state)["weight"])
    same = np.array_equal(bare["w"], spt.eval_params(state, params)["w"])
    assert same == (name in ONE_ARRAY or "gamma" not in TABLE[name][1])


@everyone
def test_in_a_chain(name):
    clip = optax.clip_by_global_norm(0.5)

    def clipped(params, k):
        return clip.update(grads_of(params, k), clip.init(params))[0]

    params, state = follow(optax.chain(clip, made(name)), params_of())
    expected, _ = follow(made(name), params_of(), grads=clipped)
    assert_bits(params, expected)
    assert_readable(state, params, {"w"})


@everyone
def test_masked(name):
    tx = optax.masked(made(name), {"w": True, "b": False})
    params, state = follow(tx, params_of(b=jnp.zeros(2)))
    assert_bits(params["w"], plain(name)[0]["w"])
    assert params["b"].tolist() == [STEPS, STEPS]  # gradients of one pass through
    assert_readable(state, params, {"w"})


@everyone
def test_partitioned(name):
    tx = optax.partition(
        {"analog": made(name), "digital": optax.sgd(0.5)}, {"w": "analog", "b": "digital"}
    )
    params, state = follow(tx, params_of(b=jnp.zeros(2)))
    assert_bits(params["w"], plain(name)[0]["w"])
    assert params["b"].tolist() == [-0.5 * STEPS] * 2
    assert_readable(state, params, {"w"})


def test_two_optimizers_in_one_partition():
    """Names that only one of them has are there for its leaves."""
    tx = optax.partition({"p": made("erider"), "q": made("analog_sgd")}, {"w": "p", "v": "q"})
    params, state = follow(tx, params_of(v=jnp.zeros(2)))
    arrays = spt.read_arrays(state)
    assert isinstance(arrays["weight"]["v"], jax.Array)
    assert isinstance(arrays["residual"]["v"], optax.MaskedNode)
    effective = spt.eval_params(state, params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), effective, params
    )
    counts = spt.pulse_counts(state)
    assert all(isinstance(counts[purpose][leaf], jax.Array) for purpose in counts for leaf in "wv")


# Wrappers with a `lax.cond` in them compile anew in every step outside jit, hence jitted here. What
# a cond asks for, that states keep their structure and dtypes, is tested for all above.

with_cond = pytest.mark.parametrize("name", ["analog_sgd", "columns_erider"])


def jitted(tx):
    return optax.GradientTransformationExtraArgs(tx.init, jax.jit(tx.update))


@with_cond
def test_multi_steps(key, name):
    """Every second step, with the mean gradient; nothing moves in between.

    (A check of keys would take optax's choice between the old and the new state, whose keys are the
    same one, for a second use.)
    """
    tx, inner = (
        jitted(optax.MultiSteps(make(name, key), 2).gradient_transformation()),
        make(name, key),
    )
    inner = jitted(inner)
    params, state = params_of(), None
    expected, inner_state = params, None
    for k in range(4):
        before = params
        params, state = follow(tx, params, state, [k])
        if k % 2 == 0:
            assert_bits(params, before)
            continue
        mean = {"w": jnp.asarray((GRADS[k - 1] + GRADS[k]) / 2)}
        expected, inner_state = follow(
            inner, expected, inner_state, [k], lambda *_, mean=mean: mean
        )
        # the same pulses; other fusions round the last bits of a float32 of order one otherwise
        np.testing.assert_allclose(params["w"], expected["w"], rtol=0, atol=1e-5)
        assert not np.array_equal(params["w"], before["w"])
    assert_readable(state, params, {"w"})


@everyone
def test_injected_numbers_can_be_changed_through_the_state(name):
    _, numbers, static = TABLE[name]
    tx = inject(name)(**numbers, **specs_of(name), **static, key=jax.random.key(11))
    params, state = follow(tx, params_of())
    assert_bits(params, plain(name)[0])
    assert set(state.hyperparams) >= set(numbers)
    assert_readable(state, params, {"w"})
    state.hyperparams["learning_rate"] = jnp.float32(0.05)
    changed, changed_state = follow(tx, params, state, [0])
    changed_state = changed_state.inner_state
    # the same step of an optimizer that was made with 0.05
    expected, _ = follow(made(name, learning_rate=0.05), params, state.inner_state, [0])
    assert_bits(changed, expected)
    state.hyperparams["learning_rate"] = jnp.float32(0.3)
    _, other = follow(tx, params, state, [0])
    assert not np.array_equal(first_array(other.inner_state), first_array(changed_state))


@everyone
def test_an_injected_schedule_is_a_native_schedule(name):
    factory, numbers, static = TABLE[name]
    schedule = optax.piecewise_constant_schedule(0.3, {2: 0.25})
    rest = {**specs_of(name), **numbers, **static, "key": jax.random.key(11)}
    rest["learning_rate"] = schedule
    native, state = follow(factory(**rest), params_of())
    assert_bits(follow(inject(name)(**rest), params_of())[0], native)
    assert not np.array_equal(first_array(state), first_array(plain(name)[1]))


@with_cond
def test_apply_if_finite(key, name):
    """A step with a NaN anywhere leaves parameters and arrays as they were."""
    tx = jitted(optax.apply_if_finite(make(name, key), max_consecutive_errors=3))
    params, state = follow(tx, params_of())
    expected, _ = follow(jitted(make(name, key)), params_of())
    np.testing.assert_allclose(params["w"], expected["w"], rtol=0, atol=1e-5)  # as in MultiSteps

    def broken(params, k):
        return {"w": jnp.asarray(GRADS[k]).at[0, 0].set(jnp.nan)}

    after, after_state = follow(tx, params, state, [0], broken)
    assert_bits(after, params)
    assert_bits(after_state.inner_state, state.inner_state)
    assert_readable(after_state, after, {"w"})


# A known device.


def is_residual(path):
    """Whether a path into a state leads to an array behind W's."""
    return any(getattr(entry, "name", None) in ("residual", "residuals") for entry in path)


@everyone
def test_a_known_device_is_put_into_the_state(key, name):
    """`device=` sets all arrays; a filter on the path leaves W out."""
    tx, params = make(name, key), params_of()
    known = {"w": spt.sample_device(jax.random.key(9), SPEC, (3, 2))}
    begin = tx.init(params)
    state = optax.tree.set(begin, device=known)
    arrays = own_state(state).arrays()
    assert len(arrays) == 1 + (name not in ONE_ARRAY) + (name == "multi_tile")
    for array in arrays.values():
        assert_bits(array.device, known)
    if name not in ONE_ARRAY:
        state = optax.tree.set(begin, lambda path, _: is_residual(path), device=known)
        assert_bits(state.weight.device, begin.weight.device)
    params, state = follow(tx, params, state)
    *_, last = own_state(state).arrays().values()
    assert_bits(last.device, known)  # and it stays
    low, high = spt.bounds(known["w"])
    assert bool(jnp.all((last.hidden["w"] >= low) & (last.hidden["w"] <= high)))
