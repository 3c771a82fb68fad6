"""State per cell: few arrays. A cell of `reram_array_hfo2` is 9 numbers, an array 12 of 4 bytes.

The 9: a step up and one down, linear in the weight (4), bounds (2), noise (2), and where retention
leads (1). An array has hidden weights, what a read shows, and a pulse count besides.
"""

import jax
import jax.numpy as jnp
import pytest

import sptrack as spt

CELL, ARRAY, NUMBER = 36, 48, 4
SPEC = spt.presets.reram_array_hfo2(reference_mean=0.4, reference_std=0.4)
W = {"weight_spec": SPEC, "key": jax.random.key(0)}
P_AND_W = W | {"residual_spec": SPEC, "transfer_rate": 0.1}
COLUMNS = P_AND_W | {"transfer": spt.ColumnTransfer()}
TABLE = {  # docs/speed.md has this table: what there is besides the arrays
    "analog_sgd": (spt.analog_sgd(0.1, **W), ARRAY),
    "mixed_precision": (spt.mixed_precision(0.1, **W), ARRAY + 2 * NUMBER),  # buffer, center
    "residual_learning": (  # R, the residual that the model sees
        spt.residual_learning(0.1, gamma=0.1, **P_AND_W),
        2 * ARRAY + 2 * NUMBER,
    ),
    "tiki_taka": (spt.tiki_taka(0.1, **COLUMNS), 2 * ARRAY + NUMBER),  # R
    "ttv2": (spt.ttv2(0.1, **COLUMNS), 2 * ARRAY + 2 * NUMBER),  # R, H
    "agad": (spt.agad(0.1, chop_prob=0.1, **COLUMNS), 2 * ARRAY + 3 * NUMBER),  # Q, Q~, H
    "rider": (  # Q, Q~, the residual that the model sees
        spt.rider(0.1, gamma=0.1, eta=0.1, **P_AND_W),
        2 * ARRAY + 3 * NUMBER,
    ),
    "erider": (  # the same and H
        spt.erider(0.1, gamma=0.1, eta=0.1, chop_prob=0.1, **COLUMNS),
        2 * ARRAY + 4 * NUMBER,
    ),
    "multi_tile": (  # W and three residual arrays, R of each
        spt.multi_tile(0.1, gamma=0.4, num_tiles=4, **P_AND_W),
        4 * ARRAY + 3 * NUMBER,
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_bytes_per_cell(name):
    tx, expected = TABLE[name]
    params = jnp.zeros((100, 100))
    leaves = jax.tree.leaves(jax.eval_shape(tx.init, params))
    arrays = [leaf for leaf in leaves if leaf.size >= params.size]
    assert sum(leaf.size * leaf.dtype.itemsize for leaf in arrays) / params.size == expected
