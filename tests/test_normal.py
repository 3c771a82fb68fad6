"""The two cheap normals against the distributions that their docstring states, and their use."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import sptrack as spt
from sptrack._random import normal, normals
from sptrack.random import _bit_count, _inverse
from tests.support import K_SIGMA, same_bits

pytestmark = pytest.mark.optimized  # the last bits as users have them

N = 1_000_000
KINDS = ("inverse", "bits")


def key_of(kind, seed=0):
    return spt.random.fast_key(seed, normal=kind)


def some_words():
    """Positive halves of words: all of the ends, and many between."""
    rng = np.random.default_rng(0)
    ends = np.arange(100_000)
    powers = (2 ** np.linspace(0, 30.99999, 100_000)).astype(int)
    return np.concatenate([ends, 2**31 - 1 - ends, powers, rng.integers(0, 2**31, N)])


def test_inverse_is_the_inverse_of_the_distribution_function():
    """2e-6 in z and 1e-6 in probability, for every size of p; the sign is the word's first bit."""
    numbers = some_words()
    p = (numbers + 0.5) / 2**32
    inverse = jax.jit(_inverse)
    z = np.asarray(inverse(numbers.astype(np.uint32)), float)
    np.testing.assert_allclose(z, -special.ndtri(p), rtol=0, atol=2e-6)
    np.testing.assert_allclose(special.ndtr(-z), p, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(
        inverse((numbers + 2**31).astype(np.uint32)), -z.astype("float32")
    )
    assert 6.33 < z.max() < 6.34


def test_bits_has_the_stated_distance_to_the_normal():
    """From the binomial distribution itself: moments, largest value, Kolmogorov's distance."""
    values = (np.arange(33) - 16) / np.sqrt(8)
    share = stats.binom.pmf(np.arange(33), 32, 0.5)
    moments = [np.sum(share * values**k) for k in range(1, 5)]
    np.testing.assert_allclose(moments, [0, 1, 0, 3 - 1 / 16], atol=1e-12)
    below = np.cumsum(share)
    gap = np.maximum(
        np.abs(below - stats.norm.cdf(values)), np.abs(below - share - stats.norm.cdf(values))
    )
    assert gap.max() == pytest.approx(share[16] / 2) and round(gap.max(), 2) == 0.07
    words = (2.0 ** np.arange(33) - 1).astype(np.uint32)  # 0, 1, ..., 32 bits set
    np.testing.assert_allclose(_bit_count(words), values, atol=1e-6)


def test_bits_is_drawn_with_binomial_shares():
    x = np.asarray(normal(key_of("bits"), "test", jnp.zeros(N)))
    counts = np.bincount(np.rint(x * np.sqrt(8) + 16).astype(int), minlength=33)[6:27]
    expected = N * stats.binom.pmf(np.arange(6, 27), 32, 0.5)
    chi2, dof = ((counts - expected) ** 2 / expected).sum(), counts.size
    z = ((chi2 / dof) ** (1 / 3) - (1 - 2 / (9 * dof))) / np.sqrt(2 / (9 * dof))
    assert abs(z) < K_SIGMA


@pytest.mark.parametrize(("kind", "kurtosis"), [("inverse", 3), ("bits", 3 - 1 / 16)])
@pytest.mark.parametrize("seed", [0, 1, 2**31])
def test_moments(kind, kurtosis, seed):
    x = np.asarray(normal(key_of(kind, seed), "test", jnp.zeros(N)), float)
    for power, expected in ((1, 0), (2, 1), (3, 0), (4, kurtosis)):
        error = (x**power).std() / np.sqrt(N)
        assert abs((x**power).mean() - expected) < K_SIGMA * error, power


def test_inverse_is_normal_by_kolmogorov_and_smirnov():
    x = np.asarray(normal(key_of("inverse"), "test", jnp.zeros(N)))
    assert stats.kstest(x, "norm").pvalue > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_cells_steps_and_seeds_are_uncorrelated(kind):
    """Neighbours in a row and in a column, the next step, the next seed; squares too."""
    like = jnp.zeros((1000, 1000))
    draw = lambda key: np.asarray(normal(key, "test", like))
    root = lambda: key_of(kind, 7)
    x = draw(root())
    step, seed = draw(jax.random.fold_in(root(), 1)), draw(key_of(kind, 8))
    pairs = [(x[1:], x[:-1]), (x[:, 1:], x[:, :-1]), (x, step), (x, seed), (x[1:], step[:-1])]
    for one, other in pairs:
        for a, b in ((one, other), (one**2 - 1, other**2 - 1)):
            assert abs(np.mean(a * b)) / (a.std() * b.std()) < K_SIGMA / np.sqrt(a.size)


def test_spread_among_cells_is_never_counted_in_bits():
    """Only noise that is drawn again and again; so both kinds sample the same device."""
    spec = spt.ConstantStep(up_down_dtod=0.0, w_max_dtod=0.0, w_min_dtod=0.0)
    one, other = (spt.sample_device(key_of(kind), spec, (50,)) for kind in KINDS)
    assert same_bits(one, other)
    like = jnp.zeros(1000)
    drawn = normals(key_of("bits"), ["test"], like)["test"]
    np.testing.assert_array_equal(drawn, normal(key_of("inverse"), "test", like))
    assert len(np.unique(normal(key_of("bits"), "test", like))) < 33 < len(np.unique(drawn))


def test_the_dtype_is_the_one_asked_for(x64):
    """Double precision has the 52 bits of `jax.random.normal`, except for counted bits."""
    for dtype in (jnp.bfloat16, jnp.float32, jnp.float64):
        for kind in KINDS:
            x = normal(key_of(kind), "test", jnp.zeros(1000, dtype))
            assert x.dtype == dtype and np.all(np.isfinite(np.asarray(x, float)))
    fine = np.asarray(normal(key_of("inverse"), "test", jnp.zeros(1000)))
    assert np.any(fine != fine.astype(np.float32))


def bits_drawn(function, *arguments):
    """Shapes of all draws of random bits in a program, those in loops once."""
    found = []

    def visit(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "random_bits":
                found.append(equation.outvars[0].aval.shape)
            for value in equation.params.values():
                for inner in value if isinstance(value, tuple | list) else [value]:
                    if hasattr(inner, "jaxpr"):
                        visit(inner.jaxpr)
                    elif hasattr(inner, "eqns"):
                        visit(inner)

    visit(jax.make_jaxpr(function)(*arguments).jaxpr)
    return found


@pytest.mark.parametrize("key", [jax.random.key(0), key_of("inverse")], ids=["threefry", "fast"])
def test_one_word_per_number_and_none_where_noise_is_off(key):
    """Rounding needs one word per cell and write; cycle and write noise one more each if on.

    Exact pulses are in the program twice: the first, and in a loop those after it.
    """
    shape = (3, 4)
    like = jnp.zeros(shape)
    for cycle, written in ((0.0, 0.0), (0.3, 0.0), (0.3, 1.0)):
        spec = spt.SoftBounds(dw_min_std=cycle, write_noise_std=written, mult_noise=False)
        device = spt.sample_device(jax.random.key(1), spec, shape)
        for method, pulses in (("exact", 2), ("aggregate", 1)):
            update = lambda w, d=device, m=method: spt.analog_update(key, d, w, w, method=m)
            assert bits_drawn(update, like) == [shape] * (1 + pulses * bool(cycle))
        pulse = lambda w, d=device: spt.pulses.one_pulse(key, d, w, True)
        assert bits_drawn(pulse, like) == [shape] * bool(cycle)
        show = lambda w, d=device: spt.pulses.show(key, d, w)
        assert bits_drawn(show, like) == [shape] * bool(written)


def test_an_unknown_normal_is_refused():
    with pytest.raises(ValueError, match=r"normal.*'inverse', 'bits'.*got 'table'"):
        spt.random.fast_key(0, normal="table")
