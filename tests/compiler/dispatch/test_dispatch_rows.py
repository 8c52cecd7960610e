"""Which tables are stored narrow, in which precision, and that their rows are those."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from dispatch_testing import TARGET, build, kernels, operators, randoms, run
from kernel_testing import as_bfloat16
from tvm.relax import op as R

from sam3_tvm.arithmetic import BFLOAT16, INT8, storing
from sam3_tvm.compiler.dispatch.rows import DispatchRows
from sam3_tvm.compiler.graph.arithmetic import with_arithmetic
from sam3_tvm.compiler.memory.weights import lift_params

IDS = [("ids", ("b", 5), "int64")]
TABLE = [("table", (300, 72))]


def looked_up(emit, ids, table):
    return R.negative(emit(R.take(table, ids, axis=0, mode="clip")))


def dispatched(mod, scheme=BFLOAT16):
    main = with_arithmetic(mod["main"], scheme)
    return DispatchRows(TARGET)(tvm.IRModule({"main": main}))


@pytest.mark.parametrize(
    ("scheme", "precision", "rounded"),
    [
        (BFLOAT16, "bfloat16", as_bfloat16),
        (INT8, "bfloat16", as_bfloat16),
        (storing("int8"), "bfloat16", as_bfloat16),
        (storing("float16"), "float16", lambda t: t.astype("float16")),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_large_table_is_stored_as_the_scheme_says(scheme, precision, rounded):
    after = dispatched(build(IDS, TABLE, looked_up), scheme)
    assert kernels(after)[-1] == f"rows_300x72_{precision}"
    assert "take" not in operators(after)
    (table,) = randoms((300, 72))
    ids = np.random.default_rng(1).integers(-2, 302, (3, 5))
    got = run(after, ids, table)
    wanted = -rounded(table).astype("float32")[np.clip(ids, 0, 299)]
    np.testing.assert_array_equal(got, wanted)


def test_only_the_narrow_table_is_kept():
    mod, transform = lift_params(dispatched(build(IDS, TABLE, looked_up)), ["main"])
    (stored,) = transform["main_transform_params"].ret_ty.fields
    assert (stored.dtype, [int(d) for d in stored.shape.values]) == ("uint16", [300, 72])
    assert kernels(mod) == ["rows_300x72_bfloat16"]


def test_float32_stays():
    assert kernels(dispatched(build(IDS, TABLE, looked_up), storing("float32"))) == []


@pytest.mark.parametrize(
    ("params", "body"),
    [
        ([("table", (255, 72))], looked_up),
        ([("table", (300, 4))], looked_up),
        ([("table", (300, 72, 2))], looked_up),
        (TABLE, lambda emit, ids, t: looked_up(emit, ids, emit(R.abs(t)))),
        (TABLE, lambda emit, ids, t: emit(R.take(t, ids, axis=1, mode="clip"))),
        (TABLE, lambda emit, ids, t: R.add(emit(looked_up(emit, ids, t)), emit(R.mean(t)))),
        (TABLE, lambda emit, ids, t: emit(R.take(t, ids, axis=0, mode="wrap"))),
    ],
    ids=[
        "small",
        "of places",
        "of three axes",
        "computed",
        "along the second",
        "read as a whole",
        "of wrapped indices",
    ],
)
def test_others_stay(params, body):
    after = dispatched(build(IDS, params, body))
    assert kernels(after) == []
    assert "take" in operators(after)


def test_a_table_that_a_call_brings_stays():
    after = dispatched(build([*IDS, *TABLE], [], looked_up))
    assert kernels(after) == []
