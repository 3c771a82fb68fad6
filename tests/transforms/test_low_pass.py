"""The low-pass link: eq. (12), its transfer function (Lemma 3.10), and what it tells apart."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sptrack as spt


def filtered(signal, eta):
    """What the link gives for a signal along axis 0."""
    tx = spt.low_pass(eta)
    signal = jnp.asarray(signal)
    state = tx.init(signal[0])

    def step(state, u):
        out, state = tx.update(u, state)
        return state, out

    return np.asarray(jax.lax.scan(step, state, signal)[1])


@pytest.mark.parametrize("eta", [0.05, 0.3, 0.9, 1.0])
def test_acceptance_15_transfer_function(x64, eta):
    """FFT of the impulse response against |H|^2 of Lemma 3.10, to 1e-10.

    The response is cut after 1024 steps, where it has fallen to (1 - 0.05)^1024 = 2e-23.
    """
    n = 1024
    impulse = np.zeros((n, 1))
    impulse[0] = 1
    response = np.fft.fft(filtered(impulse, eta)[:, 0])
    omega = 2 * np.pi * np.arange(n) / n
    gain = eta**2 / (1 + (1 - eta) ** 2 - 2 * (1 - eta) * np.cos(omega))
    np.testing.assert_allclose(np.abs(response) ** 2, gain, rtol=0, atol=1e-10)
    # and with its phase, H = eta / (1 - (1 - eta) exp(-i omega))
    np.testing.assert_allclose(
        response, eta / (1 - (1 - eta) * np.exp(-1j * omega)), rtol=0, atol=1e-10
    )
    assert abs(response[0] - 1) < 1e-10
    assert abs(abs(response[n // 2]) ** 2 - eta**2 / (2 - eta) ** 2) < 1e-10


def test_equals_the_recursion(x64):
    """A tree of signals, 1e-14 relative per step of a contraction."""
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(50, 2, 3))
    q, expected = np.zeros((2, 3)), []
    for u in signal:
        q = 0.7 * q + 0.3 * u
        expected.append(q)
    np.testing.assert_allclose(filtered(signal, 0.3), np.stack(expected), rtol=0, atol=1e-13)


def test_a_schedule_is_read_at_the_count(x64):
    """eta_k = 1/(k+1) is the running mean."""
    signal = np.random.default_rng(1).normal(size=(20, 2))
    means = np.cumsum(signal, axis=0) / np.arange(1, 21)[:, None]
    out = filtered(signal, lambda count: 1 / (count + 1.0))
    np.testing.assert_allclose(out, means, rtol=0, atol=1e-13)


def test_keeps_an_offset_and_rejects_a_chopped_signal(x64):
    """Half-period 10: of the square wave's fundamental, pi/10, passes |H(pi/10)| = 0.032."""
    chopped = np.where(np.arange(2000) // 10 % 2 == 0, 1.0, -1.0)[:, None]
    tail = filtered(0.3 + chopped, 0.01)[1000:]
    assert abs(tail.mean() - 0.3) < 1e-3
    assert np.abs(tail - 0.3).max() < 1.5 * 0.032 * 4 / np.pi + 1e-3


def test_state_is_found_by_name():
    tx = optax.chain(optax.scale(2.0), spt.low_pass(0.5))
    state = tx.init({"w": jnp.zeros(2)})
    out, state = tx.update({"w": jnp.ones(2)}, state)
    np.testing.assert_array_equal(optax.tree.get(state, "tracked_sp")["w"], out["w"])
    assert out["w"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtype_stays(dtype):
    tx = spt.low_pass(jnp.float32(0.5))
    out, state = tx.update(jnp.ones(2, dtype), tx.init(jnp.zeros(2, dtype)))
    assert out.dtype == state.tracked_sp.dtype == dtype


@pytest.mark.parametrize("eta", [-0.1, 1.5, float("nan")])
def test_eta_out_of_range(eta):
    with pytest.raises(ValueError, match=rf"eta={eta}.*\[0, 1\]"):
        spt.low_pass(eta)
