"""Wrong arguments: the type of the error, and a message with the value and the remedy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sptrack as spt

SPEC = spt.LinearResponse()
PAIR = {"residual_spec": SPEC, "weight_spec": SPEC, "transfer_rate": 0.01}
COLUMNS = spt.ColumnTransfer()
MAKE = {
    "analog_sgd": functools.partial(spt.analog_sgd, weight_spec=SPEC),
    "residual_learning": functools.partial(spt.residual_learning, **PAIR),
    "two_stage": functools.partial(spt.two_stage, num_pulses=3, **PAIR),
    "rider": functools.partial(spt.rider, **PAIR),
    "erider": functools.partial(spt.erider, **PAIR),
}
ALL, TWO_ARRAYS = tuple(MAKE), tuple(MAKE)[1:]

# (optimizers, wrong argument, exception, pattern with the value and what would be right)
WRONG = [
    (ALL, {"learning_rate": -0.1}, ValueError, r"learning_rate=-0\.1.*\[0, inf\)"),
    (ALL, {"learning_rate": float("nan")}, ValueError, r"learning_rate=nan.*finite"),
    (ALL, {"learning_rate": "fast"}, TypeError, r"learning_rate must be a number, got 'fast'"),
    (ALL, {"method": "quick"}, ValueError, r"'exact', 'aggregate', 'mean'.*'quick'"),
    (ALL, {"weight_spec": spt.SoftBounds}, TypeError, r"weight_spec|spec must be.*SoftBounds\(\)"),
    (ALL, {"weight_spec": 0.1}, TypeError, r"spec must be.*SoftBounds\(\).*0\.1"),
    (ALL, {"key": None}, TypeError, r"jax\.random\.key\(0\).*None"),
    (ALL, {"key": 0}, TypeError, r"jax\.random\.key\(0\).*got 0"),
    (ALL, {"lerning_rate": 0.1}, TypeError, r"unexpected keyword argument 'lerning_rate'"),
    (TWO_ARRAYS, {"residual_spec": spt.IdealStep}, TypeError, r"residual_spec must be.*\(\)"),
    (TWO_ARRAYS, {"transfer_rate": -1.0}, ValueError, r"transfer_rate=-1\.0.*\[0, inf\)"),
    (TWO_ARRAYS, {"gamma": -0.5}, ValueError, r"gamma=-0\.5.*\[0, inf\)"),
    (TWO_ARRAYS, {"gamma": float("inf")}, ValueError, r"gamma=inf.*finite"),
    (TWO_ARRAYS, {"transfer": "columns"}, TypeError, r"spt\.ColumnTransfer or None.*'columns'"),
    (TWO_ARRAYS, {"transfer": True}, TypeError, r"spt\.ColumnTransfer or None.*True"),
    (("rider", "erider"), {"eta": 1.5}, ValueError, r"eta=1\.5.*\[0, 1\]"),
    (("rider", "erider"), {"eta": -0.1}, ValueError, r"eta=-0\.1.*\[0, 1\]"),
    (("erider",), {"chop_prob": -0.1}, ValueError, r"chop_prob=-0\.1.*\[0, 1\]"),
    (("erider",), {"chop_prob": float("nan")}, ValueError, r"chop_prob=nan.*finite"),
    (("erider",), {"chopper": "sine"}, ValueError, r"scalar.*random.*periodic.*'sine'"),
    (("erider",), {"w_ref": "sp"}, ValueError, r"w_ref.*tracked_sp.*held_sp.*'sp'"),
    (("erider",), {"wbar_ref": "sp"}, ValueError, r"wbar_ref.*tracked_sp.*held_sp.*'sp'"),
    (
        ("erider",), {"chopper": "scalar", "transfer": COLUMNS}, ValueError,
        r"'scalar'.*'periodic'.*'random'",
    ),
    (
        ("erider",), {"w_ref": "tracked_sp", "transfer": COLUMNS}, ValueError,
        r"must agree.*'tracked_sp' and 'held_sp'",
    ),
    (("residual_learning",), {"reference": "truth"}, ValueError, r"'zero', 'true'.*'truth'"),
    (("two_stage",), {"num_pulses": 0}, ValueError, r"num_pulses must be >= 1, got 0"),
    (("two_stage",), {"num_pulses": 2.5}, TypeError, r"num_pulses.*integer.*2\.5"),
    (("two_stage",), {"scheme": "random"}, ValueError, r"cyclic.*stochastic.*'random'"),
    (("two_stage",), {"average": "median"}, ValueError, r"two_point.*'median'"),
]  # fmt: skip
CASES = [(name, *case[1:]) for case in WRONG for name in case[0]]


@pytest.mark.parametrize(
    ("name", "wrong", "error", "message"),
    CASES,
    ids=[f"{name}-{wrong}" for name, wrong, *_ in CASES],
)
def test_factories_refuse(key, name, wrong, error, message):
    with pytest.raises(error, match=message):
        MAKE[name](**{"learning_rate": 0.1, "key": key, **wrong})


@pytest.mark.parametrize("name", MAKE)
def test_the_key_is_required(name):
    with pytest.raises(TypeError, match="key"):
        MAKE[name](0.1)


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bool_, jnp.complex64])
def test_parameters_must_be_floating(key, name, dtype):
    params = {"good": jnp.zeros(2), "steps": jnp.zeros(2, dtype)}
    with pytest.raises(TypeError, match=rf"\['steps'\].*{jnp.dtype(dtype)}.*optax\.partition"):
        MAKE[name](0.1, key=key).init(params)


REFERENCES = [
    jnp.zeros(3),
    {"w": jnp.zeros(2)},
    {"w": jnp.zeros((1, 3))},
    {"v": jnp.zeros(3)},
    {"w": jnp.zeros(3), "b": jnp.zeros(3)},
    [0.1, 0.2, 0.3],
]


@pytest.mark.parametrize(
    "reference", REFERENCES, ids=lambda tree: str(jax.tree.map(np.shape, tree))
)
def test_references_must_fit_the_parameters(key, reference):
    tx = MAKE["residual_learning"](0.1, key=key, reference=reference)
    with pytest.raises(ValueError, match=r"reference must be.*\(3,\)"):
        tx.init({"w": jnp.zeros(3)})


COLUMN_SETTINGS = [
    ({"transfer_every": 0}, r"transfer_every must be an integer >= 1, got 0"),
    ({"transfer_every": 1.5}, r"transfer_every must be an integer >= 1, got 1\.5"),
    ({"transfer_every": True}, r"transfer_every must be an integer >= 1, got True"),
    ({"visible": "new"}, r"visible must be None or one of.*'live', 'stored'.*'new'"),
    ({"warm_up": 1}, r"warm_up must be None, True or False, got 1"),
]


@pytest.mark.parametrize(("wrong", "message"), COLUMN_SETTINGS)
def test_column_transfer_refuses(wrong, message):
    with pytest.raises(ValueError, match=message):
        spt.ColumnTransfer(**wrong)


BUFFER_SETTINGS = [
    ({"granularity": 0.0}, r"granularity=0\.0"),
    ({"momentum": 1.5}, r"momentum=1\.5"),
    ({"max_pulses": 0}, r"max_pulses=0"),
    ({"step": -1.0}, r"step=-1\.0"),
    ({"unit": "W"}, r"unit must be one of.*'residual', 'weight'.*'W'"),
]


@pytest.mark.parametrize(("wrong", "message"), BUFFER_SETTINGS)
def test_digital_buffer_refuses(wrong, message):
    with pytest.raises(ValueError, match=message):
        spt.DigitalBuffer(**wrong)


@pytest.mark.parametrize(
    "read", [spt.read_arrays, spt.pulse_counts, lambda s: spt.eval_params(s, 0)]
)
def test_a_state_without_arrays_is_refused(read):
    with pytest.raises(ValueError, match=r"no state of an sptrack optimizer.*dict"):
        read({"count": jnp.zeros([])})


def test_two_arrays_for_one_parameter_are_refused(key):
    links = [MAKE["analog_sgd"](0.1, key=jax.random.fold_in(key, i)) for i in range(2)]
    state = optax.chain(*links).init({"w": jnp.zeros(2)})
    with pytest.raises(
        ValueError, match=r"two parts of the state hold 'weight'.*get_all_with_path"
    ):
        spt.read_arrays(state)
