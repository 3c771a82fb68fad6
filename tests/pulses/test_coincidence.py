"""The law of coincidences, against enumeration and the exact binomial.

Chi-square tests have alpha = 1e-4 and fixed keys. Populations are keys under vmap.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import sptrack as spt
from tests.support import K_SIGMA, assert_mean

DW = 0.01
N = 40_000
X, D = np.array([0.9, -0.2, 0.0]), np.array([-0.5, 1.1])


def lines_of(length, x, d):
    return spt.pulses.Lines(jnp.array(length), jnp.asarray(x), jnp.asarray(d))


@functools.partial(jax.jit, static_argnums=1)
def counted(seed, train, lines):
    """Coincidences in N independent trains, made positive."""
    keys = jax.random.split(spt.random.fast_key(seed), N)
    return -jax.vmap(spt.pulses.count_coincidences, (0, None, None))(keys, train, lines)


def chi_square_pvalue(observed, probabilities):
    """Of the counts of categories; those expected less than 5 times are taken together."""
    observed, expected = np.asarray(observed, float), np.asarray(probabilities) * np.sum(observed)
    rare = expected < 5
    if rare.any():
        observed = np.append(observed[~rare], observed[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    possible = expected > 1e-9
    if observed[~possible].any():
        return 0.0
    chi2 = ((observed - expected)[possible] ** 2 / expected[possible]).sum()
    return stats.chi2.sf(chi2, max(possible.sum() - 1, 1))


CASES = [
    # p_x, p_d, slots, longest train
    (0.5, 0.5, 31, 31),
    (0.3, 0.9, 31, 31),
    (1.0, 0.2, 10, 31),
    (1.0, 1.0, 7, 31),
    (0.02, 0.03, 31, 31),
    (0.7, 0.6, 1, 31),
    (0.0, 0.5, 31, 31),
    (1e-3, 1.0, 32, 70),  # one word, of three
    (0.4, 0.8, 70, 70),
]


@pytest.mark.parametrize("case", CASES)
def test_the_count_of_a_cell_is_binomial(case):
    p_x, p_d, length, longest = case
    lines = lines_of(length, [p_x], [p_d])
    counts = counted(CASES.index(case), spt.PulseTrain(desired_bl=longest), lines)
    observed = np.bincount(np.ravel(counts), minlength=length + 1)
    law = stats.binom.pmf(np.arange(length + 1), length, p_x * p_d)
    assert chi_square_pvalue(observed, law) > 1e-4
    if 0 < p_x * p_d < 1:  # negative control: a probability that is off by 12 standard errors
        off = p_x * p_d + 12 * np.sqrt(p_x * p_d * (1 - p_x * p_d) / (N * length))
        assert (
            chi_square_pvalue(observed, stats.binom.pmf(np.arange(length + 1), length, off)) < 1e-4
        )


def joint_law(p_x, p_d, length):
    """Probability of every matrix of counts, by enumeration of all bits of all lines."""
    law = {}
    p = np.concatenate([p_x, p_d])
    for bits in itertools.product([0, 1], repeat=length * p.size):
        bits = np.array(bits).reshape(length, p.size)
        counts = tuple((bits[:, : len(p_x)].T @ bits[:, len(p_x) :]).ravel())
        law[counts] = law.get(counts, 0) + np.prod(np.where(bits, p, 1 - p))
    return law


def test_cells_on_one_line_share_its_bits():
    """All four cells of a 2 x 2 matrix together, BL = 2: 256 outcomes of the bits."""
    p_x, p_d = [0.7, 0.4], [0.5, 0.9]
    probabilities, digits = np.zeros(81), 3 ** np.arange(4)
    for outcome, probability in joint_law(p_x, p_d, 2).items():
        probabilities[np.array(outcome) @ digits] = probability
    counts = np.asarray(counted(20, spt.PulseTrain(), lines_of(2, p_x, p_d))).reshape(-1, 4)
    assert chi_square_pvalue(np.bincount(counts @ digits, minlength=81), probabilities) > 1e-4
    # negative control: the same counts of each cell, but from trains of their own
    counts = np.stack([np.roll(cell, shift) for shift, cell in enumerate(counts.T)], axis=1)
    assert chi_square_pvalue(np.bincount(counts @ digits, minlength=81), probabilities) < 1e-4


def test_slots_of_different_words_and_lines_are_independent():
    """Ones in the three words of two lines: no correlation in any two of the six."""

    def words(key):
        p, slots = jnp.array([0.3, 0.3]), jnp.array(96)
        return spt.pulses.coincidence.line_words(key, "x pulses", p, slots, 96)

    keys = jax.random.split(spt.random.fast_key(21), N)
    ones = jax.lax.population_count(jax.jit(jax.vmap(words))(keys)).reshape(N, 6)
    correlations = np.corrcoef(np.asarray(ones, float).T)[np.triu_indices(6, 1)]
    assert np.abs(correlations).max() < K_SIGMA / np.sqrt(N)
    assert_mean(ones, 32 * 0.3)


def half_up(values):
    return np.floor(values + 0.5)


@pytest.mark.parametrize("lr", [0.004, 0.05, 1.0])
@pytest.mark.parametrize("kind", ["mean_count", "deterministic_implicit"])
def test_kinds_without_noise(key, kind, lr):
    """Counts by NumPy from the rules; steps of x and d lines on and off."""
    for steps in ({}, {"x_res": 0.05, "d_res": 0.1}):
        train = spt.PulseTrain(kind=kind, **steps)
        lines = spt.pulses.plan_lines(train, lr, DW, jnp.asarray(X), jnp.asarray(D))
        bl, p_x, p_d = int(lines.length), *(np.abs(np.asarray(p)) for p in lines[1:])
        if steps:
            p_x, p_d = half_up(p_x / 0.05) * 0.05, half_up(p_d / 0.1) * 0.1
        p_x, p_d = np.minimum(p_x, 1), np.minimum(p_d, 1)
        if kind == "mean_count":
            counts = half_up(np.outer(half_up(bl * p_x), half_up(bl * p_d)) / bl)
        else:
            counts = half_up(bl * np.outer(p_x, p_d))
        assert counts.max() > 0 or lr == 0.004
        signed = -np.sign(np.outer(X, D)) * counts
        np.testing.assert_array_equal(spt.pulses.count_coincidences(key, train, lines), signed)
        np.testing.assert_array_equal(spt.pulses.expected_coincidences(key, train, lines), signed)


def test_the_sampler_has_no_loop_over_data():
    def sample(key, x, d):
        train = spt.PulseTrain()
        return spt.pulses.count_coincidences(
            key, train, spt.pulses.plan_lines(train, 0.1, DW, x, d)
        )

    program = str(jax.make_jaxpr(sample)(spt.random.fast_key(0), jnp.asarray(X), jnp.asarray(D)))
    assert "while" not in program and "scan" not in program and "cond" not in program
