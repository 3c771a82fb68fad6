"""Acceptance tests 8 and 10: where analog SGD and RIDER end; the implicit penalty; tiles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

import sptrack as spt
from sptrack import theory
from tests.support import WithoutClosedForm

CELLS, STEPS = 400, 40_000
SPEC = spt.LinearResponse(asymmetry_mean=0.3, asymmetry_std=0.1)  # w* ~ N(0.3, 0.1), F = 1 - w* w
QUADRATIC = {"curvature": 1.0, "gradient_std": 1.0}


def averages(tx, optimum, key, names):
    """Mean of arrays over the second half of training on a noisy quadratic, and the last state."""

    def step(carry, count):
        params, state, total = carry
        noise = jax.random.normal(jax.random.fold_in(key, count), (CELLS,))
        updates, state = tx.update(params - optimum + noise, state, params)
        arrays = spt.read_arrays(state)
        late = (2 * count >= STEPS) / (STEPS / 2)
        total = {name: total[name] + late * arrays[name] for name in names}
        return (optax.apply_updates(params, updates), state, total), None

    start = jnp.zeros(CELLS)
    begin = (start, tx.init(start), dict.fromkeys(names, start))
    (_, state, total), _ = jax.lax.scan(step, begin, jnp.arange(STEPS))
    return total, state


def test_acceptance_08_analog_sgd_fixed_point(key):
    """Section 9, number 8: the mean weight is the fixed point's up to O(alpha).

    In four groups of 100 cells, from w_opt = -0.4 to 0.4; the standard error comes from the cells.
    The constant of O(alpha) is below 0.1 here (0.04 measured at alpha = 0.1).
    """
    optimum = jnp.linspace(-0.4, 0.4, CELLS)

    @jax.jit
    def run(alpha):
        tx = spt.analog_sgd(alpha, weight_spec=SPEC, key=key, method="mean")
        found, state = averages(tx, optimum, jax.random.fold_in(key, 1), ["weight"])
        device = state[-1].weight.device
        return found["weight"], theory.analog_sgd_fixed_point(device, optimum, **QUADRATIC), device

    for alpha in (0.1, 0.02):
        weight, expected, device = run(alpha)
        for errors in np.split(np.asarray(weight - expected), 4):
            assert abs(errors.mean()) <= 0.1 * alpha + 4.5 * errors.std() / np.sqrt(errors.size)
        assert np.abs(expected - optimum).mean() > 0.1  # neither the optimum
        assert np.abs(expected - spt.symmetric_point(device)).mean() > 0.1  # nor w*


def test_acceptance_10_rider_landing_point(key):
    """Section 9, number 10: W and Q within 0.01 RMS at alpha = 0.02, for beta/eta = 10, 1, 0.1."""
    optimum = 0.1 * jax.random.normal(jax.random.fold_in(key, 2), (CELLS,))
    zero = jnp.zeros(CELLS)

    @jax.jit
    def run(beta, eta):
        tx = spt.rider(
            0.02, residual_spec=SPEC, weight_spec=spt.IdealStep(), transfer_rate=beta, eta=eta,
            gamma=0.5, key=key, method="mean",
        )  # fmt: skip
        found, state = averages(tx, optimum, jax.random.fold_in(key, 1), ["weight", "tracked_sp"])
        device = state.residual.device
        landing = theory.rider_landing_point(
            device, weight=zero, tracked_sp=zero, optimum=optimum, ratio=beta / eta, **QUADRATIC
        )
        return found["weight"], found["tracked_sp"], landing, spt.symmetric_point(device)

    squares = {}
    for ratio in (10.0, 1.0, 0.1):
        eta = 0.002 / max(ratio, 1.0)
        weight, tracked, landing, point = run(ratio * eta, eta)
        assert np.sqrt(np.mean((weight - landing.weight) ** 2)) < 0.01
        assert np.sqrt(np.mean((tracked - landing.tracked_sp) ** 2)) < 0.01
        squares[ratio] = np.mean((weight - optimum) ** 2), np.mean((tracked - point) ** 2)
    # Started at (0.01, 0.1): W is worse off than at the start, or Q has hardly moved, or both.
    assert squares[10.0][0] > 0.04 and squares[10.0][1] > 0.07
    assert squares[1.0][0] > 0.015 and 0.02 < squares[1.0][1] < 0.05
    assert squares[0.1][0] > 0.005 and squares[0.1][1] < 0.02


def test_the_floor_is_proportional_to_the_pulse_size(key):
    """With |alpha g| < dw_min an increment is one pulse or none: E step^2 = alpha E|g| dw_min.

    Around an optimum at w* (a = 1, F = 1) that gives E (w - w*)^2 = dw_min / 2 times
    E|g| / (mu + E|g|), plus O(alpha), however small alpha is: the floor Theta(dw_min). The law is
    taken for normal, in E|g| = sqrt(2/pi) (sigma^2 + E (w - w*)^2)^(1/2): some percent.
    """
    sigma, alpha = 0.1, 0.01

    def floor(dw_min):
        square = 0.0
        for _ in range(20):
            magnitude = np.sqrt(2 / np.pi * (sigma**2 + square))
            square = dw_min / 2 * magnitude / (1 + magnitude)
        return square

    @jax.jit
    def run(dw_min):
        tx = spt.analog_sgd(alpha, weight_spec=spt.LinearResponse(dw_min=dw_min), key=key)
        noise_key = jax.random.fold_in(key, 1)

        def step(carry, count):
            params, state, total = carry
            noise = sigma * jax.random.normal(jax.random.fold_in(noise_key, count), (CELLS,))
            updates, state = tx.update(params + noise, state, params)
            params = optax.apply_updates(params, updates)
            late = (2 * count >= STEPS) / (STEPS / 2)
            return (params, state, total + late * jnp.mean(params**2)), None

        start = jnp.zeros(CELLS)
        return jax.lax.scan(step, (start, tx.init(start), 0.0), jnp.arange(STEPS))[0][2]

    for dw_min in (0.03, 0.006):
        assert float(run(dw_min)) == pytest.approx(floor(dw_min), rel=0.03)


def device_of(**options):
    return spt.sample_device(jax.random.key(0), spt.LinearResponse(**options), (3,))


@pytest.mark.parametrize("sigma", [0.0, 0.7])
def test_fixed_points_solve_their_equations(x64, sigma):
    """The residual of the printed equation, with E|g| by a plain numerical integral."""
    device = device_of(asymmetry_mean=0.3, tau_max=0.8)
    optimum = jnp.array([-0.3, 0.1, 0.5])
    xi = np.linspace(-9, 9, 20001)
    density = np.exp(-(xi**2) / 2) / np.sqrt(2 * np.pi)

    def imbalance(w, q):
        mean = 2.0 * (w - optimum)
        gradients = np.abs(np.asarray(mean)[:, None] + sigma * xi)
        magnitude = np.trapezoid(gradients * density, xi, axis=1)
        return mean + magnitude * theory.asymmetry_ratio(device, q)

    w = theory.analog_sgd_fixed_point(device, optimum, curvature=2.0, gradient_std=sigma)
    np.testing.assert_allclose(imbalance(w, w), 0, atol=1e-6)
    start = jnp.array([0.1, 0.0, -0.1])
    ends = theory.rider_landing_point(
        device, weight=start, tracked_sp=-start, optimum=optimum, ratio=3.0, curvature=2.0,
        gradient_std=sigma,
    )  # fmt: skip
    np.testing.assert_allclose(imbalance(ends.weight, ends.tracked_sp), 0, atol=1e-6)
    np.testing.assert_allclose(
        theory.rider_invariant(ends.weight, ends.tracked_sp, 3.0),
        theory.rider_invariant(start, -start, 3.0),
        rtol=1e-12,
    )


def test_fixed_points_are_differentiable(x64):
    """Implicit function theorem against central differences."""

    @jax.jit
    def ends(asymmetry, optimum, sigma, start):
        spec = spt.LinearResponse(asymmetry_mean=asymmetry)
        device = spt.sample_device(jax.random.key(0), spec, ())
        options = {"curvature": 1.5, "gradient_std": sigma}
        landing = theory.rider_landing_point(
            device, weight=start, tracked_sp=0.5 * start, optimum=optimum, ratio=0.7, **options
        )
        sgd = theory.analog_sgd_fixed_point(device, optimum, **options)
        return jnp.stack([sgd, *landing])

    check_grads(ends, (0.3, -0.2, 0.8, 0.1), order=1, modes=["fwd", "rev"])


def test_fixed_points_without_asymmetry_or_point():
    optimum = jnp.array([-0.3, 0.1, 0.5])
    ideal = spt.sample_device(jax.random.key(0), spt.IdealStep(), (3,))
    found = theory.analog_sgd_fixed_point(ideal, optimum, **QUADRATIC)
    np.testing.assert_allclose(found, optimum, atol=1e-6)
    none = spt.sample_device(jax.random.key(0), spt.ConstantStep(up_down=0.5), (3,))
    assert np.all(np.isnan(theory.analog_sgd_fixed_point(none, optimum, **QUADRATIC)))
    own = WithoutClosedForm(device_of(asymmetry_mean=0.3))
    np.testing.assert_allclose(
        theory.analog_sgd_fixed_point(own, optimum, **QUADRATIC),
        theory.analog_sgd_fixed_point(own.device, optimum, **QUADRATIC),
        atol=1e-6,
    )


def test_implicit_penalty_has_the_ratio_as_its_gradient(x64):
    device = spt.sample_device(jax.random.key(0), spt.ExponentialResponse(center_mean=0.2), (4,))
    w = jnp.array([-0.6, 0.0, 0.2, 0.9])

    def penalties(v):
        each = theory.implicit_penalty(device, v, 0.7)
        return each.sum(), (each, 0.7 * theory.asymmetry_ratio(device, v))

    slope, (each, expected) = jax.jit(jax.grad(penalties, has_aux=True))(w)
    np.testing.assert_allclose(slope, expected, rtol=1e-9)
    assert each[2] == 0
    stuck = spt.sample_device(jax.random.key(0), spt.SoftBounds(corrupt_devices_prob=1.0), (2,))
    assert np.all(np.asarray(theory.asymmetry_ratio(stuck, jnp.zeros(2))) == 0)


def test_penalized_optimum_is_the_fixed_point_to_first_order(x64):
    """Both are close to w* if the optimum is: the gap falls with the distance squared."""
    device = device_of(asymmetry_mean=0.3)
    magnitude = np.sqrt(2 / np.pi)
    gaps = []
    for distance in (0.1, 0.05):
        optimum = spt.symmetric_point(device) - distance
        first = theory.penalized_optimum(device, optimum, hessian=1.0, gradient_magnitude=magnitude)
        exact = theory.analog_sgd_fixed_point(device, optimum, **QUADRATIC)
        gaps.append(float(jnp.abs(first - exact).max()))
        assert gaps[-1] < 0.1 * distance
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=0.1)


def test_penalized_optimum_with_a_matrix_of_second_derivatives(x64):
    device = device_of(asymmetry_mean=0.3)
    optimum, hessian = jnp.array([-0.3, 0.1, 0.5]), jnp.diag(jnp.array([1.0, 2.0, 3.0]))
    solve = functools.partial(theory.penalized_optimum, device, optimum, gradient_magnitude=0.5)
    np.testing.assert_allclose(solve(hessian=hessian), solve(hessian=jnp.diag(hessian)))
    coupled = hessian.at[0, 1].set(0.4).at[1, 0].set(0.4)
    w, point = solve(hessian=coupled), spt.symmetric_point(device)
    pull = 0.5 / spt.symmetric_part(device, point)  # a = 1
    np.testing.assert_allclose(coupled @ (w - optimum) + pull * (w - point), 0, atol=1e-14)


def test_riders_lower_bound_is_the_minimum_over_the_line(x64):
    """Against a brute search over (Q, P) on the line W = W_0 + r (Q - Q_0)."""
    device = spt.sample_device(jax.random.key(0), spt.LinearResponse(center_mean=0.3), ())
    q = np.linspace(-1.5, 1.5, 1201)[:, None]
    p = np.linspace(-1.5, 1.5, 1201)[None, :]
    for ratio, mu_q in ((2.0, 1.0), (0.5, 1.0), (1.0, 0.4)):
        w = 0.2 + ratio * (q + 0.1)
        metric = (w + 0.3) ** 2 + (p - q) ** 2 + mu_q**2 * (p - 0.3) ** 2
        found = theory.rider_lower_bound(
            device, weight=jnp.array(0.2), tracked_sp=jnp.array(-0.1), optimum=jnp.array(-0.3),
            ratio=ratio, mu_q=mu_q,
        )  # fmt: skip
        assert float(found) == pytest.approx(metric.min(), rel=1e-3)


def test_tiles_share_what_is_left_of_the_optimum(x64):
    """Li25's identities: P_N - W^(N) = gamma^-N (W_opt - W_bar), and the error's scaling."""
    rng = np.random.default_rng(0)
    tiles, gamma = list(map(jnp.asarray, rng.uniform(-1, 1, (4, 5)))), 0.2
    optimum = jnp.asarray(rng.uniform(-1, 1, 5))
    composite = theory.composite_weight(tiles, gamma)
    np.testing.assert_allclose(composite, sum(gamma**n * tile for n, tile in enumerate(tiles)))
    optima = theory.tile_optima(tiles, optimum, gamma)
    assert len(optima) == 4
    np.testing.assert_allclose(optima[-1] - tiles[-1], (optimum - composite) / gamma**3, rtol=1e-12)
    error = functools.partial(theory.multi_tile_error_scale, gamma)
    assert float(error(4, 1.0, 1e-3) / error(1, 1.0, 1e-3)) == pytest.approx(gamma**2)
    assert float(error(1, 8.0, 1e-3) / error(1, 1.0, 1e-3)) == pytest.approx(4)
    with pytest.raises(ValueError, match="num_tiles must be at least 1, got 0"):
        error(0, 1.0, 1e-3)
