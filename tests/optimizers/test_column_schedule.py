"""The column schedule against a NumPy twin of the authors' code semantics, float64, no noise.

Written from science/3 section 3.6, items 1-7, and section 5.4 for the counting of warm-up. The
order is the authors': a flip marks a column, and the marked column takes Q~ <- Q when it is next
read. sptrack copies at the flip; Q doesn't change in between.

Tolerance 1e-12 as in test_equations.py; counts of pulses are exact.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sptrack as spt
from tests.support import K_SIGMA

TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}

DW_MIN_P, DW_MIN_W = 0.02, 0.005
SPEC_P = spt.LinearResponse(dw_min=DW_MIN_P, alpha_up=1.2, tau_max=0.8, tau_min=1.1, center_std=0.1)
SPEC_W = spt.LinearResponse(dw_min=DW_MIN_W, tau_max=0.9, tau_min=0.7, center_std=0.05)
SHAPES = {"matrix": (5, 3), "vector": (4,), "conv": (2, 2, 3, 4)}
STEPS = 600
ALPHA, BETA, GAMMA, ETA, P = 0.3, 0.6, 0.4, 0.2, 0.26  # period max(ceil(1/0.26), 2) = 4
GRANULARITY = 100.0


def linear(dw_min, up, tau_max, tau_min):
    """au(w, dw) and pulses(w, n): cells around a center m, all pulses at the present weight."""

    def cells(center):
        def au(w, dw, m=center):
            q = np.where(dw >= 0, up * (1 - (w - m) / tau_max), 1 + (w - m) / tau_min)
            return np.clip(w + dw * q, m - tau_min, m + tau_max)

        return au, lambda w, n, m: au(w, n * dw_min, m)

    return cells


CELLS_P, CELLS_W = linear(DW_MIN_P, 1.2, 0.8, 1.1), linear(DW_MIN_W, 1.0, 0.9, 0.7)


def centers(array, name, tau_min, columns):
    return (np.asarray(spt.bounds(array.device[name])[0]) + tau_min).reshape(columns, -1)


def twin(
    start, target, noise, m_p, m_w, *, transfer_every=1, momentum=0.0, max_pulses=1, period=4,
    reference="held", flips=None, ideal=False, granularity=GRANULARITY,
):  # fmt: skip
    """All arrays of one matrix after every step, columns first; `flips` are given or periodic."""
    au_p, _ = CELLS_P(m_p)
    _, pulses_w = CELLS_W(m_w)
    if ideal:
        au_p, pulses_w = lambda w, dw: w + dw, lambda w, n, m: w + n * DW_MIN_W
    columns = len(start)
    w, p_array = start.copy(), np.zeros_like(start)
    q, held = p_array.copy(), p_array.copy()  # the first read
    h, cpq, sent = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    c, marked = np.ones(columns), np.zeros(columns, bool)
    wbar, out = start.copy(), []
    for t in range(len(noise)):
        g = wbar - target + noise[t]
        p_array = au_p(p_array, -ALPHA * c[:, None] * g)
        if (t + 1) % transfer_every == 0:
            reads = t // transfer_every
            j, transfer_counter = reads % columns, reads // columns
            if marked[j]:  # item 2, before val enters Q
                held[j], marked[j] = q[j], False
            val = p_array[j]
            dw = c[j] * (val - (held[j] if reference == "held" else q[j]))
            cpq[j] = dw  # item 3
            bg = DW_MIN_P * granularity / (columns * transfer_every)
            h[j] += BETA * dw / bg  # item 4
            n = np.clip(np.trunc(h[j]), -max_pulses, max_pulses)
            h[j] = np.where(n != 0, momentum * h[j], h[j])
            if period is None or transfer_counter > period:  # item 6
                w[j] = pulses_w(w[j], n, m_w[j])
                sent[j] += np.abs(n)
            q[j] = (1 - ETA) * q[j] + ETA * val  # item 5
            if flips is not None:
                flip = flips[t, j]
            else:
                flip = period is not None and (transfer_counter % period) + 1 == period
            if flip:
                c[j], marked[j] = -c[j], True
        wbar = w + GAMMA * cpq  # item 7: stale, both in P and in c
        shown_held = np.where(marked[:, None], q, held)
        out.append([x.copy() for x in (w, p_array, q, shown_held, h, c[:, None], sent, wbar)])
    names = ("weight", "residual", "tracked_sp", "held_sp", "buffer", "chopper", "sent", "params")
    return dict(zip(names, map(np.stack, zip(*out, strict=True)), strict=True))


def trained(tx, seed=0, steps=STEPS):
    """Problem, state at the start and records of every step of one run on a noisy quadratic."""
    rng = np.random.default_rng(seed)
    start = {name: rng.uniform(-0.2, 0.2, shape) for name, shape in SHAPES.items()}
    target = {name: rng.uniform(-0.5, 0.5, shape) for name, shape in SHAPES.items()}
    noise = {name: rng.normal(size=(steps, *shape)) for name, shape in SHAPES.items()}
    params = jax.tree.map(jnp.asarray, start)

    def step(carry, noise_now):
        params, state = carry
        grads = jax.tree.map(lambda w, t, n: w - t + n, params, target, noise_now)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        sent = spt.pulse_counts(state)["transfer"]
        return (params, state), {"params": params, "sent": sent, **spt.read_arrays(state)}

    @jax.jit
    def run(noise):
        begin = tx.init(params)
        return begin, jax.lax.scan(step, (params, begin), noise)[1]

    begin, records = run(noise)
    records = jax.tree.map(np.asarray, records)
    return (start, target, noise), begin, records


def by_columns(x, name, lead=0):
    """Axes after the first `lead` as (columns, outputs)."""
    columns = math.prod(SHAPES[name][:-1])
    return np.asarray(x).reshape(*np.shape(x)[:lead], columns, -1)


def assert_twin(tx, *, ideal=False, given_flips=False, arrays=None, **settings):
    problem, begin, records = trained(tx)
    pulsed = 0
    for name in SHAPES:
        columns = math.prod(SHAPES[name][:-1])
        start, target, noise = (by_columns(x[name], name, n) for n, x in enumerate_lead(problem))
        m = [np.zeros_like(start)] * 2
        if not ideal:
            m = [
                centers(begin.residual, name, 1.1, columns),
                centers(begin.weight, name, 0.7, columns),
            ]
        flips = None
        if given_flips:
            signs = by_columns(records["chopper"][name], name, 1)[..., 0]
            flips = np.diff(signs, axis=0, prepend=1.0) != 0
        expected = twin(start, target, noise, *m, ideal=ideal, flips=flips, **settings)
        for field in arrays or expected:
            got = by_columns(records[field][name], name, 1)
            np.testing.assert_allclose(
                got, expected[field], **TOLERANCE, err_msg=f"{field} of {name}"
            )
        assert np.ptp(expected["params"], axis=0).min() > 1e-3
        pulsed += (expected["sent"][-1] > 0).mean() / len(SHAPES)
        if settings.get("period", 4) is not None:  # warm-up: one period of whole passes
            first = (settings.get("period", 4) + 1) * columns * settings.get("transfer_every", 1)
            assert np.all(expected["sent"][:first] == 0) and np.any(expected["buffer"][:first])
    assert pulsed > 0.9  # nearly all cells of W were pulsed
    return records


def enumerate_lead(problem):
    """(lead axes, tree) of start, target and noise."""
    return zip((0, 0, 1), problem, strict=True)


def erider(
    key, specs=(SPEC_P, SPEC_W), method="mean", reference="held_sp", chopper=None,
    granularity=GRANULARITY, **options,
):  # fmt: skip
    schedule = {k: options.pop(k) for k in ("transfer_every", "warm_up") if k in options}
    transfer = spt.ColumnTransfer(read=None, **schedule)
    buffer = spt.DigitalBuffer(granularity=granularity, **options)
    return spt.erider(
        ALPHA, residual_spec=specs[0], weight_spec=specs[1], transfer_rate=BETA, gamma=GAMMA,
        eta=ETA, chop_prob=P, chopper=chopper, transfer=transfer, buffer=buffer,
        w_ref=reference, wbar_ref=reference, key=key, method=method,
    )  # fmt: skip


IDEAL = (spt.IdealStep(dw_min=DW_MIN_P), spt.IdealStep(dw_min=DW_MIN_W))
SETTINGS = [
    {},
    {"transfer_every": 3},
    {"momentum": 0.6},
    {"max_pulses": 3, "momentum": 0.2, "granularity": 10.0},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_equals_the_twin(key, x64, settings):
    records = assert_twin(erider(key, **settings), **settings)
    if "max_pulses" in settings:
        jumps = np.diff(records["sent"]["matrix"], axis=0)
        assert jumps.max() == 3


def test_equals_the_twin_with_q_for_reference(key, x64):
    assert_twin(erider(key, reference="tracked_sp"), reference="tracked")


def test_equals_the_twin_with_random_choppers(key, x64):
    """Flips are read off the state; held values, signs and all else follow from them."""
    tx = erider(key, chopper="random")
    records = assert_twin(tx, given_flips=True)
    for name, shape in SHAPES.items():
        columns = math.prod(shape[:-1])
        signs = by_columns(records["chopper"][name], name, 1)[..., 0]
        flipped = np.diff(signs, axis=0, prepend=1.0) != 0
        due = np.arange(STEPS)[:, None] % columns == np.arange(columns)
        assert not np.any(flipped & ~due)  # only the column that is read


def test_equals_the_twin_on_ideal_arrays_with_real_pulses(key, x64):
    """Ideal arrays take dw exactly in P, and n pulses of dw_min in W, by any method."""
    for method in ("aggregate", "exact"):
        assert_twin(erider(key, specs=IDEAL, method=method), ideal=True)


def test_without_warm_up_the_first_pass_is_written(key, x64):
    _, _, records = trained(erider(key, warm_up=False), steps=60)
    assert records["sent"]["vector"][3:6].max() > 0 or records["sent"]["matrix"][:20].max() > 0


def test_rider_has_no_chopper_and_no_warm_up(key, x64):
    transfer = spt.ColumnTransfer(read=None)
    buffer = spt.DigitalBuffer(granularity=GRANULARITY)
    tx = spt.rider(
        ALPHA, residual_spec=SPEC_P, weight_spec=SPEC_W, transfer_rate=BETA, gamma=GAMMA, eta=ETA,
        transfer=transfer, buffer=buffer, key=key, method="mean",
    )  # fmt: skip
    fields = ("weight", "residual", "tracked_sp", "buffer", "sent", "params")
    assert_twin(tx, period=None, reference="tracked", arrays=fields)


def test_residual_learning_has_neither_tracking_nor_flips(key, x64):
    """Q~ stays where it began, at zero; the twin's is never synchronised without flips."""
    transfer = spt.ColumnTransfer(read=None)
    buffer = spt.DigitalBuffer(granularity=GRANULARITY)
    tx = spt.residual_learning(
        ALPHA, residual_spec=SPEC_P, weight_spec=SPEC_W, transfer_rate=BETA, gamma=GAMMA,
        transfer=transfer, buffer=buffer, key=key, method="mean",
    )  # fmt: skip
    fields = ("weight", "residual", "held_sp", "buffer", "sent", "params")
    assert_twin(tx, period=None, arrays=fields)


def test_random_choppers_flip_with_probability_p_per_read(key, seed_of):
    """600 reads of each of 8 columns: the share of flips is P within 4.5 standard errors."""
    columns, passes = 8, 600
    tx = erider(key, specs=IDEAL, chopper="random")
    params = jnp.zeros((columns, 1))

    def step(state, _):
        _, state = tx.update(params, state, params)
        return state, state.chopper[:, 0]

    signs = jax.jit(lambda s: jax.lax.scan(step, s, length=columns * passes)[1])(tx.init(params))
    flips = np.count_nonzero(np.diff(np.asarray(signs), axis=0, prepend=1.0))
    n = columns * passes
    assert abs(flips / n - P) < K_SIGMA * math.sqrt(P * (1 - P) / n)


def test_read_noise_has_the_stated_std(key):
    """P and Q~ rest at zero, so what is stored after a read is c times the noise of that read."""
    std = 0.06
    tx = spt.erider(
        0.0, residual_spec=IDEAL[0], weight_spec=IDEAL[1], transfer_rate=0.0, eta=0.0, key=key,
        transfer=spt.ColumnTransfer(),
    )  # fmt: skip
    params = jnp.zeros((20, 500))

    def step(state, _):
        return tx.update(params, state, params)[1], None

    state = jax.jit(lambda s: jax.lax.scan(step, s, length=20)[0])(tx.init(params))
    noise = np.asarray(state.demodulated)
    n = noise.size
    assert abs(noise.std() / std - 1) < K_SIGMA / math.sqrt(2 * n)
    assert abs(noise.mean()) < K_SIGMA * std / math.sqrt(n)
    assert abs(np.mean(noise[1:] * noise[:-1])) / std**2 < K_SIGMA / math.sqrt(n)


@pytest.mark.parametrize("share", [0.01, 0.05, 1 / 7, 1 / 61, 0.3, 0.5, 0.9, 1.0])
def test_periodic_choppers_flip_every_max_ceil_inverse_p_2_reads(key, share):
    """At least three flips of two columns; ceil of the decimal fraction that was written."""
    period = max(math.ceil(round(1 / share, 9)), 2)
    tx = spt.erider(
        0.1, residual_spec=IDEAL[0], weight_spec=IDEAL[1], transfer_rate=0.1, chop_prob=share,
        transfer=spt.ColumnTransfer(), key=key,
    )  # fmt: skip
    params = jnp.zeros((2, 1))

    def step(state, _):
        _, state = tx.update(params, state, params)
        return state, state.chopper[:, 0]

    length = 2 * (3 * period + 1)
    signs = jax.jit(lambda s: jax.lax.scan(step, s, length=length)[1])(tx.init(params))
    for j, sign in enumerate(np.asarray(signs).T):
        flips = np.flatnonzero(np.diff(sign, prepend=1.0))
        np.testing.assert_array_equal(flips, 2 * (period * np.arange(1, 4) - 1) + j)
