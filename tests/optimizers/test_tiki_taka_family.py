"""TT-v1, TT-v2, RLv2, c-TTv2 and AGAD step by step against NumPy, float64, exact reads.

The rules below are written from science/3 sections 3.4 (RLv2) and 5.1-5.4 in the layout of aihwkit,
(outputs, inputs), and share no code with sptrack. Before every step the twin takes its state from
sptrack's (translated: transposed, H in the twin's units), does the step, and is compared with
sptrack's next state. From the state it also takes where a random chopper flipped; everything else
follows.

Cells have constant steps that differ up and down; gradients are whole numbers of pulses and all
rates binary fractions, so that no pulse is random and the tolerance is rounding, 1e-12.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sptrack as spt
from sptrack.optimizers import digital_buffer
from tests.support import QUIET, same_bits

TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}
DW = 2.0**-6  # dw_min of P; that of W is half of it
FAR = {**QUIET, "w_max": 1e3, "w_min": -1e3}
SPEC_P = spt.ConstantStep(dw_min=DW, up_down=0.25, **FAR)  # steps 1 and 0.75
SPEC_W = spt.ConstantStep(dw_min=DW / 2, up_down=-0.5, **FAR)  # steps 0.5 and 1
INPUTS, OUTPUTS, STEPS = 4, 3, 72
PULSES = np.random.default_rng(7).integers(-3, 4, (STEPS, INPUTS, OUTPUTS))
START = np.random.default_rng(8).integers(-9, 10, (INPUTS, OUTPUTS)) * DW
LR_A, LR_T = 0.5, 0.375


def moved(w, dw, up, down):
    """An analog update with constant steps."""
    return w + dw * np.where(dw >= 0, up, down)


class Twin:
    """One matrix in aihwkit's layout; `state` holds C (the weight), A, H, mu, mu_past, c_x, c_d."""

    def __init__(self, gamma=0.0, every=1, reads=1, rows=False, thres=None, bg=None, momentum=0.0,
                 forget=True, bl=1, leak=False, p=None, tail=None, track=False,
                 warm_up=False):  # fmt: skip
        self.__dict__.update(locals())
        self.period = None if p is None else max(math.ceil(1 / p), 2)

    def step(self, s, g, t, random_flips=None):
        """What one update (a mini-batch) and the transfer after it, if it is due, do to `s`."""
        sign = np.outer(s["c_d"], s["c_x"])
        s["A"] = moved(s["A"], -LR_A * sign * g, 1.0, 0.75)
        if (t + 1) % self.every == 0:
            lines = OUTPUTS if self.rows else INPUTS
            for r in range(self.reads):
                count = (t + 1) // self.every * self.reads - self.reads + r
                self.transfer(s, count % lines, count // lines, random_flips)
        s["visible"] = s["C"] + self.gamma * np.outer(s["c_d"], s["c_x"]) * s["A"]

    def transfer(self, s, k, passes, random_flips):
        line = (k, slice(None)) if self.rows else (slice(None), k)
        read = s["A"][line]
        if self.thres is None and self.bg is None:  # TT-v1
            s["C"][line] = moved(s["C"][line], LR_T * read, 0.5, 1.0)
            return
        own, other = ("c_d", "c_x") if self.rows else ("c_x", "c_d")
        omega = s[own][k] * s[other] * (read - s["mu_past"][line])
        if self.thres is not None:  # TT-v2: H in weight units
            unit = self.thres
            kept = (1 - LR_T) * s["H"][line] if self.leak else s["H"][line]
            filled = kept + LR_T * omega
        else:
            unit = 1.0
            filled = s["H"][line] + LR_T * omega / self.bg
        n = np.clip(np.trunc(filled / unit), -self.bl, self.bl)
        emptied = self.momentum * filled
        if not self.forget:
            emptied = filled - (1 - self.momentum) * n * unit
        s["H"][line] = np.where(n != 0, emptied, filled)
        if not self.warm_up or passes > self.period:
            s["C"][line] = moved(s["C"][line], n * DW / 2, 0.5, 1.0)
        if self.track:
            beta = min(self.tail / self.period, 1)
            s["mu"][line] = (1 - beta) * s["mu"][line] + beta * read
        if self.p is not None:
            cur = passes % self.period + 1
            flips = cur == self.period if random_flips is None else random_flips[k]
            if flips:
                s[own][k] *= -1
                if self.track:  # marked now, copied when next read: mu doesn't change till then
                    s["mu_past"][line] = s["mu"][line]


def translate(state, twin):
    """sptrack's state as the twin's; absent parts are what an algorithm without them has."""
    zeros = np.zeros((OUTPUTS, INPUTS))

    def matrix(x):
        return zeros.copy() if x is None else np.array(x).T

    def signs(x, size):
        return np.ones(size) if x is None else np.array(x).ravel()

    own, other = state.chopper, state.out_chopper
    c_x, c_d = (other, own) if twin.rows else (own, other)
    unit = 1.0 if twin.thres is None else twin.thres
    tracked = state.tracked_sp is not None
    return {
        "C": matrix(state.weight.hidden), "A": matrix(state.residual.hidden),
        "H": matrix(state.buffer) * unit, "c_x": signs(c_x, INPUTS), "c_d": signs(c_d, OUTPUTS),
        "mu": matrix(state.tracked_sp) if tracked else zeros.copy(),
        "mu_past": matrix(state.held_sp),
        "visible": matrix(state.effective_weights()),
    }  # fmt: skip


def states_of(tx):
    """The state before the first step and after every one, gradients given."""
    params = jnp.asarray(START)
    grads = jnp.asarray(PULSES * DW / LR_A)

    def step(state, g):
        _, state = tx.update(g, state, params)
        return state, state._replace(key=None)

    begin = tx.init(params)
    _, after = jax.jit(lambda s: jax.lax.scan(step, s, grads))(begin)
    after = jax.tree.map(np.asarray, after)
    return [begin, *(jax.tree.map(lambda x, t=t: x[t], after) for t in range(STEPS))]


def assert_follows(tx, twin, random=False):
    states = states_of(tx)
    for t in range(STEPS):
        now, after = translate(states[t], twin), translate(states[t + 1], twin)
        own = "c_d" if twin.rows else "c_x"
        flips = now[own] != after[own] if random else None
        if twin.every == twin.reads == 1 and random:  # only the line that was read may flip
            assert not np.any(np.delete(flips, t % len(flips)))
        if twin.rows is False and states[t].out_chopper is not None:
            ends = (t + 1) % INPUTS == 0
            assert ends or np.array_equal(now["c_d"], after["c_d"])
            done = {**now, "c_d": now["c_d"].copy()}
            twin.step(done, PULSES[t].T * DW / LR_A, t, flips)
            done["c_d"] = after["c_d"]
            outer = np.outer(done["c_d"], done["c_x"])
            done["visible"] = done["C"] + twin.gamma * outer * done["A"]
        else:
            done = now
            twin.step(done, PULSES[t].T * DW / LR_A, t, flips)
        for name, expected in after.items():
            np.testing.assert_allclose(done[name], expected, **TOLERANCE, err_msg=f"{name} {t}")
    assert np.mean(np.asarray(states[-1].weight.pulses) > 0) > 0.9  # nearly all of W was written
    return states


def made(factory, key, schedule, **changed):
    read = {"transfer": spt.ColumnTransfer(read=None, **schedule)}
    rates = {"transfer_rate": LR_T, "residual_spec": SPEC_P, "weight_spec": SPEC_W}
    return factory(LR_A, key=key, **(read | rates | changed))


SCHEDULES = [
    {},
    {"transfer_every": 2, "reads_per_transfer": 2},
    {"rows": True},
]


def twin_schedule(schedule):
    names = {"transfer_every": "every", "reads_per_transfer": "reads", "rows": "rows"}
    return {names[name]: value for name, value in schedule.items()}


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_tiki_taka(key, x64, schedule):
    """What is written to W is no whole number of pulses, so with "mean": the same, unrounded."""
    tx = made(spt.tiki_taka, key, schedule, gamma=0.5, method="mean")
    assert_follows(tx, Twin(gamma=0.5, **twin_schedule(schedule)))


BUFFERS = {
    "forgets": {"momentum": 0.125},
    "keeps": {"momentum": 0.125, "forget": False},
    "three pulses, threshold 2": {"max_pulses": 3, "granularity": 2.0, "momentum": 0.0},
}


@pytest.mark.parametrize("name", BUFFERS)
def test_ttv2(key, x64, name):
    settings = BUFFERS[name]
    buffer = spt.DigitalBuffer.ttv2(**settings)
    states = assert_follows(
        made(spt.ttv2, key, {}, buffer=buffer),
        Twin(
            thres=settings.get("granularity", 1.0) * DW / 2, momentum=settings["momentum"],
            forget=settings.get("forget", True), bl=settings.get("max_pulses", 1),
        ),
    )  # fmt: skip
    jumps = [np.diff([s.weight.pulses for s in states], axis=0).max()]
    assert jumps == [settings.get("max_pulses", 1)]


WHOLE = {"transfer": None}, {"reads": INPUTS}  # all columns after every step
RLV2 = {
    "columns": ({"transfer": spt.ColumnTransfer(read=None, visible="live")}, {}),
    "whole matrices": WHOLE,
}


@pytest.mark.parametrize("name", RLV2)
def test_rlv2(key, x64, name):
    """Residual learning behind a buffer that leaks, gradients at W + gamma P."""
    changed, lines = RLV2[name]
    buffer = spt.DigitalBuffer.rlv2()
    tx = made(spt.residual_learning, key, {}, gamma=0.5, buffer=buffer, **changed)
    assert_follows(tx, Twin(thres=DW / 2, forget=False, leak=True, gamma=0.5, **lines))


CHOPPERS = {
    "periodic": ({}, {"chopper": "periodic", "gamma": 0.25}),
    "random": ({}, {"chopper": "random"}),
    "random and output": ({}, {"chopper": "random", "out_chop_prob": 0.5, "gamma": 0.25}),
    "random rows, every 3": ({"rows": True, "transfer_every": 3}, {"chopper": "random"}),
}


@pytest.mark.parametrize("name", CHOPPERS)
def test_chopped_ttv2(key, x64, name):
    """Granularity 4 pulses of P in all, over the steps between two reads of a line."""
    schedule, changed = CHOPPERS[name]
    lines = OUTPUTS if schedule.get("rows") else INPUTS
    bg = 16.0 * DW / (lines * schedule.get("transfer_every", 1))
    tx = made(spt.chopped_ttv2, key, schedule, chop_prob=0.25, **changed,
              buffer=spt.DigitalBuffer(granularity=16.0))  # fmt: skip
    twin = Twin(bg=bg, p=0.25, gamma=changed.get("gamma", 0.0), **twin_schedule(schedule))
    states = assert_follows(tx, twin, random=changed["chopper"] == "random")
    signs = np.array([np.ravel(s.chopper) for s in states])
    assert np.all(np.ptp(signs, axis=0) == 2)
    if "out_chop_prob" in changed:
        assert np.ptp([s.out_chopper for s in states]) == 2


def test_chopped_ttv2_on_whole_matrices(key, x64):
    """With what the model sees of A; an interval between reads is one step here."""
    changed, lines = WHOLE
    tx = made(spt.chopped_ttv2, key, {}, chop_prob=0.25, chopper="random", gamma=0.25,
              buffer=spt.DigitalBuffer(granularity=4.0), **changed)  # fmt: skip
    states = assert_follows(tx, Twin(bg=4.0 * DW, p=0.25, gamma=0.25, **lines), random=True)
    assert np.all(np.ptp([np.ravel(s.chopper) for s in states], axis=0) == 2)


TRACKERS = {
    "periodic": ({}, {"chop_prob": 0.25}),  # eta = 1
    "periodic, eta 0.5": ({}, {"chop_prob": 0.25, "eta": 0.5}),
    "random rows": (
        {"rows": True, "reads_per_transfer": 2},
        {"chop_prob": 0.5, "chopper": "random"},
    ),
}


@pytest.mark.parametrize("name", TRACKERS)
def test_agad(key, x64, name):
    schedule, changed = TRACKERS[name]
    lines = OUTPUTS if schedule.get("rows") else INPUTS
    tx = made(spt.agad, key, schedule, **changed, buffer=spt.DigitalBuffer(granularity=8.0))
    p = changed["chop_prob"]
    period = max(math.ceil(1 / p), 2)
    tail = changed.get("eta", 1.0) * period if "eta" in changed else 5.0
    twin = Twin(
        bg=8.0 * DW / lines, p=p, tail=tail, track=True, warm_up=True, **twin_schedule(schedule)
    )
    states = assert_follows(tx, twin, random="chopper" in changed)
    reads = lines * (period + 1) // schedule.get("reads_per_transfer", 1)
    assert same_bits(states[reads].weight.hidden, states[0].weight.hidden)  # warm-up
    assert np.any(np.asarray(states[reads].buffer) != 0)


# TT-v2's buffer in weight units, by hand: threshold 0.01, H and n after a read of `read` at 0.5.
BY_HAND = [
    # H before, read, momentum, forget, most pulses, n, H after
    (0.004, 0.01, 0.1, True, 1, 0, 0.009),
    (0.008, 0.02, 0.1, True, 1, 1, 0.0018),
    (0.008, 0.02, 0.1, False, 1, 1, 0.009),
    (0.008, 0.02, 0.0, True, 1, 1, 0.0),
    (0.008, 0.02, 0.0, False, 1, 1, 0.008),
    (0.015, 0.04, 0.1, True, 1, 1, 0.0035),
    (0.015, 0.04, 0.1, False, 1, 1, 0.026),
    (0.015, 0.04, 0.1, True, 5, 3, 0.0035),
    (0.015, 0.04, 0.1, False, 5, 3, 0.008),
    (-0.008, -0.02, 0.1, True, 1, -1, -0.0018),
    (-0.015, -0.04, 0.1, False, 2, -2, -0.017),
    (0.009, -0.02, 0.1, True, 1, 0, -0.001),
]


@pytest.mark.parametrize("case", BY_HAND, ids=str)
def test_ttv2_buffer_by_hand(key, x64, case):
    """One step of the optimizer with A at the read, alpha = 0, beta = 0.5 and C at zero."""
    before, read, momentum, forget, most, n, after = case
    ideal = spt.IdealStep(dw_min=0.01)
    buffer = spt.DigitalBuffer.ttv2(momentum=momentum, forget=forget, max_pulses=most)
    tx = spt.ttv2(0.0, residual_spec=ideal, weight_spec=ideal, transfer_rate=0.5, buffer=buffer,
                  key=key)  # fmt: skip
    params = jnp.zeros(1)
    state = tx.init(params)
    state = state._replace(
        buffer=jnp.array([before / 0.01]),
        residual=state.residual._replace(hidden=jnp.array([read])),
    )
    updates, state = tx.update(jnp.ones(1), state, params)
    np.testing.assert_allclose(state.buffer * 0.01, [after], rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(updates, [n * 0.01], rtol=1e-12, atol=0)


def test_rlv2_buffer_by_hand(key, x64):
    """H <- (1 - beta) H + beta P, one pulse at 0.01 subtracted; P held at 0.06, beta = 0.25.

    H = 0.015 -> pulse, 0.005; 0.01875 -> 0.00875; 0.0215625 -> 0.0115625; 0.023671875 ->
    0.013671875.
    """
    ideal = spt.IdealStep(dw_min=0.01)
    tx = spt.residual_learning(
        0.0, residual_spec=ideal, weight_spec=ideal, transfer_rate=0.25, gamma=0.0,
        buffer=spt.DigitalBuffer.rlv2(), key=key,
    )  # fmt: skip
    params = jnp.zeros(1)
    state = tx.init(params)
    state = state._replace(residual=state.residual._replace(hidden=jnp.array([0.06])))
    for k, expected in enumerate((0.005, 0.00875, 0.0115625, 0.013671875)):
        updates, state = tx.update(jnp.ones(1), state, params)
        np.testing.assert_allclose(state.buffer * 0.01, [expected], rtol=1e-9)
        np.testing.assert_allclose(updates, [0.01 * (k + 1)], rtol=1e-12)


def test_a_step_of_less_than_a_pulse_is_sent_at_random(key):
    """step 0.3 and n = 2: 0.6 pulses on average, 0 or 1; none of -2 reads otherwise."""
    buffer = spt.DigitalBuffer(step=0.3)
    n = jnp.full(20_000, 2.0).at[:10_000].set(-2.0)
    sent = np.asarray(digital_buffer.pulses_of(key, buffer, n)) * np.sign(n)
    assert set(np.unique(sent)) == {0.0, 1.0}
    assert abs(sent.mean() - 0.6) < 4.5 * np.sqrt(0.6 * 0.4 / sent.size)


def test_whole_matrix_buffers_read_all_cells_at_once(key, x64):
    """Without a schedule every cell is read at every step, so a line's interval is one step."""
    ideal = spt.IdealStep(dw_min=0.01)
    tx = spt.chopped_ttv2(
        0.5, residual_spec=ideal, weight_spec=ideal, transfer_rate=0.5, chop_prob=0.0,
        buffer=spt.DigitalBuffer(granularity=50.0), key=key,
    )  # fmt: skip
    params, state = jnp.zeros((2, 2)), None
    state = tx.init(params)
    for k in range(3):  # A = -0.5, -1, -1.5; H = -0.5, -1.5 -> 0, -1.5 -> 0
        updates, state = tx.update(jnp.ones((2, 2)), state, params)
        expected = [(-0.5, 0.0), (0.0, -0.01), (0.0, -0.02)][k]
        np.testing.assert_allclose(state.buffer, expected[0], atol=1e-12)
        np.testing.assert_allclose(updates, expected[1], atol=1e-15)


def test_tiki_taka_is_residual_learning_on_whole_matrices(key):
    """The same arrays, with the same streams: two names of one iteration."""
    spec = spt.presets.reram_array_om(reference_mean=0.2)
    rates = {"residual_spec": spec, "weight_spec": spec, "transfer_rate": 0.1, "gamma": 0.3}
    params, grads = jnp.zeros((3, 2)), jnp.ones((3, 2))
    ends = []
    for factory in (spt.tiki_taka, spt.residual_learning):
        tx = factory(0.2, reference=0.1, key=key, **rates)
        update, state = jax.jit(tx.update), tx.init(params)
        new = params
        for _ in range(4):
            updates, state = update(grads, state, new)
            new = optax.apply_updates(new, updates)
        ends.append(new)
    assert same_bits(*ends)
