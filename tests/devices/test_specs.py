"""Specs refuse nonsense, and are pytrees whose numbers can be swept."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from tests.support import NOISY_SPECS, same_bits

KEY = jax.random.key(0)
SPEC = spt.SoftBounds()

REFUSED = {
    "unknown keyword": (lambda: spt.SoftBounds(dw_mim=0.1), TypeError, "dw_mim"),
    "unknown keyword of a preset": (
        lambda: spt.presets.reram_array_om(reference=0.1),
        TypeError,
        "reference",
    ),
    "positional": (lambda: spt.SoftBounds(0.1), TypeError, "positional"),
    "negative sigma": (
        lambda: spt.SoftBounds(dw_min_std=-0.3),
        ValueError,
        r"SoftBounds: dw_min_std=-0\.3 is out of range; give a finite number in \[0, inf\)",
    ),
    "negative sigma in a sweep": (
        lambda: spt.SoftBoundsReference(reference_std=jnp.array([0.1, -0.1])),
        ValueError,
        "reference_std.*-0.1.*finite number in",
    ),
    "zero step": (lambda: spt.IdealStep(dw_min=0.0), ValueError, r"dw_min=0\.0.*\(0, inf\)"),
    "NaN": (lambda: spt.LinearResponse(center_mean=float("nan")), ValueError, "nan.*finite"),
    "infinite": (lambda: spt.PowerResponse(tau=np.inf), ValueError, "inf.*finite"),
    "upper bound below zero": (lambda: spt.ConstantStep(w_max=-1.0), ValueError, r"w_max=-1\.0"),
    "probability above one": (
        lambda: spt.SoftBounds(corrupt_devices_prob=1.5),
        ValueError,
        r"corrupt_devices_prob=1\.5.*\[0, 1\]",
    ),
    "asymmetry": (lambda: spt.LinearResponse(asymmetry_mean=1.2), ValueError, r"1\.2.*\[-1, 1\]"),
    "None": (lambda: spt.SoftBounds(dw_min=None), ValueError, "dw_min=None"),
    "an object": (lambda: spt.SoftBounds(dw_min=object()), TypeError, "must be a number"),
    "spec class": (
        lambda: spt.sample_device(KEY, spt.SoftBounds, (2,)),
        TypeError,
        r"instance: write SoftBounds\(\)",
    ),
    "no spec": (lambda: spt.sample_device(KEY, 0.3, (2,)), TypeError, r"sample.*0\.3"),
    "no key": (lambda: spt.sample_device(0, SPEC, (2,)), TypeError, r"got 0.*|jax\.random\.key"),
    "floating key": (
        lambda: spt.sample_device(jnp.zeros(2), SPEC, (2,)),
        TypeError,
        r"jax\.random\.key\(0\)",
    ),
    "integer shape": (lambda: spt.sample_device(KEY, SPEC, 2), TypeError, "tuple.*got 2"),
    "floating shape": (lambda: spt.sample_device(KEY, SPEC, (2.0,)), TypeError, r"tuple.*2\.0"),
    "negative shape": (lambda: spt.sample_device(KEY, SPEC, (-2,)), ValueError, ">= 0.*-2"),
    "integer dtype": (
        lambda: spt.sample_device(KEY, SPEC, (2,), dtype=jnp.int32),
        ValueError,
        "floating.*int32",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nonsense_is_refused_with_the_value_and_the_remedy(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()


def test_a_string_is_no_number():
    with pytest.raises(TypeError, match="dw_min"):
        spt.SoftBounds(dw_min="0.1")


@pytest.mark.parametrize("name", NOISY_SPECS)
def test_specs_are_pytrees_that_are_not_validated_when_rebuilt(name):
    spec = NOISY_SPECS[name]
    leaves, treedef = jax.tree.flatten(spec)
    assert jax.tree.unflatten(treedef, leaves) == spec
    zeros = jax.tree.map(lambda _: 0, spec)  # dw_min = 0 would be refused by the constructor
    assert type(zeros) is type(spec) and zeros.dw_min == 0
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(spec)]
    assert ".dw_min" in names and ".mult_noise" not in names


def test_static_fields_are_part_of_the_structure():
    additive, multiplicative = spt.SoftBounds(mult_noise=False), spt.SoftBounds(mult_noise=True)
    assert jax.tree.structure(additive) != jax.tree.structure(multiplicative)


def test_specs_are_frozen():
    with pytest.raises(AttributeError):
        SPEC.dw_min = 0.1


def test_a_swept_field_equals_single_runs():
    """A vmapped field gives each device's bits; both sides are compiled, so fused alike."""
    means = jnp.array([-0.3, 0.0, 0.4])
    draw = jax.jit(
        lambda mean: spt.sample_device(
            KEY, spt.presets.reram_array_om(reference_mean=mean), (5,), dtype=jnp.float32
        )
    )
    population = jax.vmap(draw)(means)
    for index, mean in enumerate(means):
        assert same_bits(jax.tree.map(operator.itemgetter(index), population), draw(mean))
    assert not same_bits(population.low[0], population.low[1])


def test_a_spec_of_arrays_is_swept_through_in_axes():
    spec = spt.SoftBoundsReference(reference_mean=jnp.array([0.1, 0.2, 0.3]))
    axes = jax.tree.map(lambda leaf: 0 if jnp.ndim(leaf) else None, spec)
    low, high = spt.bounds(
        jax.vmap(lambda one: spt.sample_device(KEY, one, (4,)), in_axes=(axes,))(spec)
    )
    assert low.shape == (3, 4)
    # Rounding; the sweep moves nothing but the reference.
    np.testing.assert_allclose(low[0] - low[2], 0.2, atol=2e-7)
    np.testing.assert_allclose(high[0] - high[1], 0.1, atol=2e-7)


def test_one_compilation_serves_all_values_of_a_field():
    traces = []

    @jax.jit
    def draw(spec):
        traces.append(spec)
        return spt.sample_device(KEY, spec, (3,))

    for dw_min in (0.1, 0.2, 0.3):
        draw(spt.SoftBounds(dw_min=dw_min))
    assert len(traces) == 1
