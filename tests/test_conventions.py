"""The switches of conftest.py and pyproject.toml are really on."""

import warnings

import jax
import jax.numpy as jnp
import pytest


@pytest.mark.keys_are_checked
def test_a_key_used_twice_raises(key):
    jax.random.normal(key)
    with pytest.raises(jax.errors.KeyReuseError):
        jax.random.normal(key)


@pytest.mark.keys_are_checked
def test_a_key_used_twice_under_jit_raises(key):
    with pytest.raises(jax.errors.KeyReuseError):
        jax.jit(lambda k: jax.random.normal(k) + jax.random.uniform(k))(key)


def test_no_two_tests_share_a_key(request, seed_of):
    tests = request.session.items
    assert len({seed_of(test) for test in tests}) == len(tests)


def test_rank_promotion_raises():
    with pytest.raises(ValueError, match="rank_promotion"):
        jnp.zeros((2, 3)) + jnp.zeros(3)


def test_a_warning_is_an_error():
    with pytest.raises(UserWarning):
        warnings.warn("anything", UserWarning, stacklevel=1)


def test_single_precision_by_default():
    assert jnp.zeros(1).dtype == jnp.float32


def test_double_precision_on_request(x64):
    assert jnp.zeros(1).dtype == jnp.float64
