"""Acceptance test 18: the published nanoseconds and formulas; energy from counts."""

import csv
import inspect
import re

import jax
import jax.numpy as jnp
import pytest

import sptrack as spt
from experiments import costs
from experiments.costs import NAMES
from sptrack.costs import ArrayHardware, pulse_energy, update_cost, update_energy


def rows():
    with costs.PUBLISHED.open() as file:
        return {row["algorithm"]: row for row in csv.DictReader(file)}


def value(formula, h):
    """A published formula such as 2N+6N/ns as a number."""
    formula = re.sub(r"(\d)(?=[A-Zn])", r"\1*", formula.replace("^", "**").replace("NB", "N*B"))
    return eval(formula, {"N": h.size, "B": h.batch, "ns": h.transfer_every})


@pytest.mark.parametrize("name", NAMES)
def test_acceptance_18_published_costs(name):
    """Section 9, number 18: times within 0.1 ns; storage, traffic and operations exactly.

    Wu25's residual learning is printed as 371.8 = 2 x 165.9 + 40, of numbers already rounded.
    """
    algorithm, options = NAMES[name]
    hardware, row = ArrayHardware(**options), rows()[name]
    cost = update_cost(algorithm, hardware)
    assert cost.time_ns == pytest.approx(float(row["time_ns"]), abs=0.1)
    columns = ("digital_storage", "mem_ops_bits", "fp_ops")
    for column, found in zip(
        columns, (cost.storage, cost.memory_bits, cost.operations), strict=True
    ):
        if row[column]:
            assert found == value(row[column], hardware)


def test_a_forward_or_backward_pass_is_one_read():
    assert ArrayHardware().mvm_ns == float(rows()["Wu25_fwd_or_bwd"]["time_ns"])


def test_the_command_prints_published_and_computed_times(capsys):
    costs.main(["--size", "256"])
    printed = capsys.readouterr().out
    lines = {line.split("  ")[0]: line for line in printed.splitlines()}
    assert "56.3" in lines["TTv2"].replace("56.3", "", 1)  # published and computed
    assert lines.keys() >= {*NAMES, *spt.costs.SOURCES}
    assert "size 256" in printed


def test_every_optimizer_has_a_cost():
    """A new one needs an entry in `sptrack.costs`, published or counted."""
    candidates = [getattr(spt.optimizers, name) for name in spt.optimizers.__all__]
    factories = {
        one.__name__
        for one in candidates
        if inspect.isfunction(one) and "key" in inspect.signature(one).parameters
    }
    assert {"analog_sgd", "two_stage", "rider", "erider"} <= factories
    assert not factories - spt.costs.SOURCES.keys()


def test_algorithms_cost_what_they_are_made_of():
    """E-RIDER on columns is AGAD with the residual shown: same time, one more matrix."""
    agad, erider = update_cost("agad"), update_cost("erider")
    assert erider.time_ns == agad.time_ns and erider.storage - agad.storage == 512**2
    slow = ArrayHardware(transfer_every=1e12)
    for name in spt.costs.SOURCES.keys() - {"mixed_precision"}:
        time = update_cost(name, slow).time_ns  # without transfers all are analog SGD
        assert time == pytest.approx(update_cost("analog_sgd").time_ns)


def test_costs_can_be_swept_and_differentiated():
    sizes = jnp.array([256.0, 512.0])
    times = jax.vmap(lambda n: update_cost("ttv2", ArrayHardware(size=n)).time_ns)(sizes)
    assert times[1] == pytest.approx(update_cost("ttv2").time_ns)
    slope = jax.grad(lambda n: update_cost("multi_tile", ArrayHardware(transfer_every=n)).time_ns)
    assert slope(3.0) < 0


def test_pulse_energy_of_a_training_state():
    """10 pulses of 0.01 on each of two cells at 1.5 pJ; nothing else was sent."""
    cells = spt.LinearResponse(dw_min=0.01)
    tx = spt.analog_sgd(0.1, weight_spec=cells, key=jax.random.key(0))
    params = {"w": jnp.zeros(2)}
    _, state = tx.update({"w": jnp.ones(2)}, tx.init(params), params)
    counts = spt.pulse_counts(state)
    assert {name: float(e) for name, e in pulse_energy(counts, 1.5).items()} == {
        "calibration": 0.0, "training": 30.0, "transfer": 0.0,
    }  # fmt: skip


def test_pulse_energy_by_direction():
    counts = {"training": {"up": {"w": jnp.array([3, 1])}, "down": {"w": jnp.array([0, 2])}}}
    table = {"training": {"up": 1.0, "down": 10.0}}
    assert float(pulse_energy(counts, table)["training"]) == 24.0
    with pytest.raises(ValueError, match=r"no entry for 'training/down', only \['up'\]"):
        pulse_energy(counts, {"training": {"up": 1.0}})
    with pytest.raises(ValueError, match=r"no entry for 'training', only \['transfer'\]"):
        pulse_energy(counts, {"transfer": 1.0})
    with pytest.raises(ValueError, match=r"'training' has no parts like \['up'\]: give a number"):
        pulse_energy({"training": jnp.ones(2)}, {"training": {"up": 1.0}})


def test_update_energy():
    cost = update_cost("agad")
    assert update_energy(cost, read=3.0) == 1.5
    assert update_energy(cost, memory_bit=0.1) == pytest.approx(0.1 * 50 * 512 / 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: update_cost("adam"), "algorithm must be one of .*'agad'.*got 'adam'"),
        (lambda: ArrayHardware(size=0.0), r"size=0\.0 is out of range"),
        (lambda: update_cost("multi_tile", ArrayHardware(transfer_every=1.0)), "above 1"),
    ],
)
def test_nonsense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
