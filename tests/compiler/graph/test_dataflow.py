"""What is asked of values: their sizes, whatever their dtype, and whether kernels take them."""

from __future__ import annotations

import pytest
from dispatch_testing import build
from tvm import relax, tirx

from sam3_tvm.compiler.graph.dataflow import Dataflow, float32_shape_of, shape_of


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "bool"])
def test_a_shape_is_known_whatever_the_dtype_and_kernels_take_float32(dtype):
    n = tirx.Var("n", "int64")
    x = relax.Var("x", relax.TensorType((n, 3), dtype))
    assert shape_of(x) == [n, 3]
    assert float32_shape_of(x) == ([n, 3] if dtype == "float32" else None)


def test_a_tensor_of_unknown_sizes_and_a_tuple_have_no_shape():
    tensor = relax.TensorType(dtype="float32", ndim=2)
    for ty in (tensor, relax.TupleType([relax.TensorType((2,), "float32")])):
        assert shape_of(relax.Var("x", ty)) is None
        assert float32_shape_of(relax.Var("x", ty)) is None


def test_parameters_are_what_a_value_is_computed_from():
    def body(emit, x, w, v, b):
        both = emit(relax.op.concat([w, v], axis=0))
        return emit(relax.op.add(emit(relax.op.matmul(x, emit(relax.op.permute_dims(both)))), b))

    mod = build([("x", (3, 4))], [("w", (2, 4)), ("v", (2, 4)), ("b", (4,))], body)
    flow = Dataflow(mod["main"])
    product = next(b for b in flow.bindings if b.value.op.name == "relax.matmul")
    assert flow.parameters(product.value.args[1]) == {"w", "v"}
    assert flow.parameters(product.var) == {"x", "w", "v"}
    assert flow.parameters(relax.const(1.0)) == frozenset()
