"""The fast generator: statistics of its bits and normals, and what a key implementation promises.

Thresholds: a statistic that is standard normal for an ideal generator must be within 4.5, which an
ideal one misses with probability 7e-6 each; chi-square ones, of 127 or more degrees of freedom, are
brought to that by Wilson and Hilferty's cube root. Seeds are fixed, so a pass stays a pass.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from sptrack._random import purpose_key
from tests.support import K_SIGMA

N = 1_000_000
FAST = spt.random.fast_key


def words(key, shape=(N,), dtype=jnp.uint32):
    return np.asarray(jax.random.bits(key, shape, dtype))


def chi_square_z(counts):
    """How many standard deviations the chi-square of equally likely cells is off."""
    counts = np.asarray(counts, float).ravel()
    expected, dof = counts.sum() / counts.size, counts.size - 1
    chi2 = ((counts - expected) ** 2).sum() / expected
    return ((chi2 / dof) ** (1 / 3) - (1 - 2 / (9 * dof))) / np.sqrt(2 / (9 * dof))


@pytest.mark.parametrize("seed", [0, 1, 2**31])
def test_moments_of_normals(seed):
    """Standard errors of mean, variance, skewness and kurtosis: sqrt(1, 2, 6, 24 over N)."""
    x = np.asarray(jax.random.normal(FAST(seed), (N,)), float)
    z = (x - x.mean()) / x.std()
    errors = {
        "mean": x.mean() / np.sqrt(1 / N),
        "variance": (x.var() - 1) / np.sqrt(2 / N),
        "skewness": (z**3).mean() / np.sqrt(6 / N),
        "kurtosis": ((z**4).mean() - 3) / np.sqrt(24 / N),
    }
    assert max(map(abs, errors.values())) < K_SIGMA, errors
    beyond = (np.abs(x) > 3).mean()  # the tails: 0.0026998 of a normal
    assert abs(beyond - 0.0026998) < K_SIGMA * np.sqrt(0.0027 / N)


@pytest.mark.parametrize("seed", [0, 12345])
def test_bytes_and_bits_are_equidistributed(seed):
    w = words(FAST(seed))
    for shift in range(0, 32, 8):
        assert abs(chi_square_z(np.bincount((w >> shift) & 255, minlength=256))) < K_SIGMA, shift
    for bit in range(32):
        share = ((w >> bit) & 1).mean()
        assert abs(share - 0.5) < K_SIGMA * 0.5 / np.sqrt(N), bit
    # neighbouring words: pairs of their top, middle and bottom nibbles
    for shift in (28, 14, 0):
        nibble = (w >> shift) & 15
        pairs = nibble[0::2] * 16 + nibble[1::2]
        assert abs(chi_square_z(np.bincount(pairs, minlength=256))) < K_SIGMA, shift


@pytest.mark.parametrize(("dtype", "top"), [(jnp.uint8, 0), (jnp.uint16, 8)])
def test_narrow_words_are_equidistributed(dtype, top):
    w = words(FAST(4), dtype=dtype)
    assert w.dtype == dtype
    assert abs(chi_square_z(np.bincount((w >> top) & 255, minlength=256))) < K_SIGMA
    assert abs(chi_square_z(np.bincount(w & 255, minlength=256))) < K_SIGMA


def test_wide_words(x64):
    """64 bits: both halves equidistributed, and independent of one another."""
    w = words(FAST(5), dtype=jnp.uint64)
    high, low = (w >> np.uint64(32)).astype(np.uint32), w.astype(np.uint32)
    for half in (high, low):
        assert abs(chi_square_z(np.bincount(half >> 24, minlength=256))) < K_SIGMA
    pairs = (high >> 28) * 16 + (low >> 28)
    assert abs(chi_square_z(np.bincount(pairs, minlength=256))) < K_SIGMA
    x = np.asarray(jax.random.normal(FAST(6), (N,)))
    assert x.dtype == np.float64
    assert abs(x.mean()) < K_SIGMA / np.sqrt(N)
    assert abs(x.var() - 1) < K_SIGMA * np.sqrt(2 / N)


def normals(key, n=N):
    return np.asarray(jax.random.normal(key, (n,)))


ROOT = lambda: FAST(42)
RELATED = {  # pairs of keys that a simulation uses side by side
    "seeds": lambda: (FAST(7), FAST(8)),
    "first seeds": lambda: (FAST(0), FAST(1)),
    "high seeds": lambda: (FAST(0), FAST(2**31)),
    "steps": lambda: [jax.random.fold_in(ROOT(), t) for t in (5, 6)],
    "distant steps": lambda: [jax.random.fold_in(ROOT(), t) for t in (1, 1 + 2**16)],
    "purposes": lambda: [purpose_key(ROOT(), name) for name in ("cycle noise", "write noise")],
    "instances": lambda: list(jax.random.split(ROOT(), 2)),
    "parent and child": lambda: (FAST(9), jax.random.fold_in(FAST(9), 0)),
}


@pytest.mark.parametrize("name", RELATED)
def test_related_keys_are_uncorrelated(name):
    """Cell by cell, and against the neighbouring cell; squares too (volatility)."""
    x, y = map(normals, RELATED[name]())
    for a, b in ((x, y), (x[1:], y[:-1]), (x[:-1], y[1:]), (x**2 - 1, y**2 - 1)):
        scale = a.std() * b.std()
        assert abs(np.mean(a * b)) / scale < K_SIGMA / np.sqrt(a.size)


@pytest.mark.parametrize("lag", [1, 2, 7, 64, 512, 1000])
def test_cells_are_uncorrelated(lag):
    """Neighbours in a row and, at 1000, in a column of a 1000 x 1000 array."""
    x = np.asarray(jax.random.normal(FAST(10), (1000, 1000))).ravel()
    for a, b in ((x[lag:], x[:-lag]), (x[lag:] ** 2 - 1, x[:-lag] ** 2 - 1)):
        assert abs(np.mean(a * b)) / (a.std() * b.std()) < K_SIGMA / np.sqrt(a.size)


def test_one_cell_over_many_steps_and_keys():
    """The other way to use keys: few cells, a key per step; the same for a key per instance."""
    steps = jax.vmap(lambda t: jax.random.bits(jax.random.fold_in(FAST(11), t), (2,)))(
        jnp.arange(100_000)
    )
    instances = jax.vmap(lambda k: jax.random.bits(k, (2,)))(jax.random.split(FAST(11), 100_000))
    seeds = jax.vmap(lambda s: jax.random.bits(FAST(s), (2,)))(jnp.arange(100_000))
    for w in map(np.asarray, (steps, instances, seeds)):
        for cell in range(2):
            for shift in (24, 12, 0):
                counts = np.bincount((w[:, cell] >> shift) & 255, minlength=256)
                assert abs(chi_square_z(counts)) < K_SIGMA
        z = (w / 2.0**32 - 0.5) * np.sqrt(12)
        assert abs(np.mean(z[1:, 0] * z[:-1, 0])) < K_SIGMA / np.sqrt(len(z) - 1)
        assert abs(np.mean(z[:, 0] * z[:, 1])) < K_SIGMA / np.sqrt(len(z))


DERIVED = {
    "seed": lambda number: FAST(number),
    "step": lambda number: jax.random.fold_in(FAST(12), number),
    "key": lambda number: jax.random.fold_in(FAST(number), 3),
}


@pytest.mark.parametrize("name", DERIVED)
def test_flipping_one_bit_of_what_a_key_is_made_of_flips_half_of_the_bits(name):
    """Avalanche over 32 input bits: 32 N words of N = 1000, so 0.5 +- 0.5/sqrt(32000) each."""
    number = 0x6A09E667
    base = words(DERIVED[name](np.uint32(number)), (1000,))
    for bit in range(32):
        other = words(DERIVED[name](np.uint32(number ^ 1 << bit)), (1000,))
        share = np.unpackbits((base ^ other).view(np.uint8)).mean()
        assert abs(share - 0.5) < K_SIGMA * 0.5 / np.sqrt(32_000), bit


def test_all_pairs_of_many_steps_are_uncorrelated():
    """400 steps, 4096 cells: products over pairs of steps are N(0, 1/cells), also their extremes.

    The squares' mean over 79 800 pairs has the standard error sqrt(2 / pairs); the largest of so
    many standard normal numbers exceeds 6 with probability 2e-4.
    """
    keys = jax.vmap(lambda t: jax.random.fold_in(ROOT(), t))(jnp.arange(400))
    x = np.asarray(jax.vmap(lambda k: jax.random.normal(k, (4096,)))(keys))
    for values in (x, np.abs(x) - np.abs(x).mean()):
        values = values / values.std()
        z = (values @ values.T)[np.triu_indices(400, 1)] / np.sqrt(4096)
        assert abs((z**2).mean() - 1) < K_SIGMA * np.sqrt(2 / z.size)
        assert np.abs(z).max() < 6


def test_streams_that_share_counters_are_uncorrelated():
    """The hash adds half a key to the position, so two keys may meet: only the other half helps."""
    impl = jax.random.key_impl(FAST(0))
    shift, data = 5, np.asarray(jax.random.key_data(jax.random.split(FAST(20), 200)))
    z = []
    for (k0, k1), (_, other) in zip(data[::2], data[1::2], strict=True):
        pair = np.array([[k0, k1], [k0 + np.uint32(shift), other]], np.uint32)
        one, two = (jax.random.wrap_key_data(jnp.asarray(k), impl=impl) for k in pair)
        z.append(
            np.sqrt(9995) * np.mean(normals(one, 10_000)[shift:] * normals(two, 10_000)[:-shift])
        )
    assert abs(np.mean(np.square(z)) - 1) < K_SIGMA * np.sqrt(2 / len(z))
    assert np.abs(z).max() < 5


def test_bits_depend_on_position_only():
    """A shape is a way to number cells: reshaping, and a longer draw's beginning, are the same."""
    w = words(FAST(13), (600,))
    np.testing.assert_array_equal(words(FAST(13), (20, 30)).ravel(), w)
    np.testing.assert_array_equal(words(FAST(13), (100,)), w[:100])
    assert len(np.unique(w)) == 600


def test_vmap_and_jit_give_the_same_bits():
    def keys():
        return jax.random.split(FAST(14), 5)

    draw = lambda k: jax.random.normal(k, (3, 4))
    alone = np.stack([draw(k) for k in keys()])
    np.testing.assert_array_equal(jax.vmap(draw)(keys()), alone)
    np.testing.assert_array_equal(jax.jit(jax.vmap(draw))(keys()), alone)
    np.testing.assert_array_equal(jax.vmap(jax.jit(draw))(keys()), alone)


def test_split_and_fold_in_give_distinct_keys():
    derived = [
        jax.random.split(FAST(15), 1000),
        jax.random.split(FAST(16), (10, 100)).reshape(1000),
        jax.vmap(lambda t: jax.random.fold_in(FAST(17), t))(jnp.arange(1000)),
        jax.vmap(FAST)(jnp.arange(1000)),
    ]
    data = np.concatenate([np.asarray(jax.random.key_data(k)) for k in derived])
    assert len(np.unique(data, axis=0)) == 4000


def test_the_generator_is_one_of_its_own():
    key = FAST(0)
    assert jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    assert "spt" in str(key.dtype)
    assert not np.array_equal(words(FAST(0), (8,)), words(jax.random.key(0), (8,)))


def test_the_stream_stays_what_it_is():
    """The first words for seed 0, by the hash written out in Python integers."""
    k0, k1 = (int(x) for x in jax.random.key_data(FAST(0)))

    def mix(x):
        x = ((x ^ x >> 16) * 0x21F0AAAD + k1) & 0xFFFFFFFF
        x = ((x ^ x >> 15) * 0xD35A2D97) & 0xFFFFFFFF
        return x ^ x >> 15

    expected = [mix((i + k0) & 0xFFFFFFFF) for i in range(20)]
    assert words(FAST(0), (20,)).tolist() == expected


@pytest.mark.parametrize(
    "draw",
    [
        lambda k: jax.random.uniform(k, (1000,)),
        lambda k: jax.random.bernoulli(k, 0.3, (1000,)),
        lambda k: jax.random.randint(k, (1000,), 0, 10),
        lambda k: jax.random.permutation(k, 1000),
        lambda k: jax.random.gamma(k, 2.0, (100,)),
    ],
    ids=["uniform", "bernoulli", "randint", "permutation", "gamma"],
)
def test_every_sampler_takes_the_key(draw):
    one, other = np.asarray(draw(FAST(18))), np.asarray(draw(FAST(19)))
    assert np.all(np.isfinite(one)) and not np.array_equal(one, other)


@pytest.mark.parametrize("seed", [1.5, "0", None])
def test_a_seed_is_an_integer(seed):
    with pytest.raises(TypeError):
        FAST(seed)
