"""What is asked of values: their sizes, whatever their dtype, and whether kernels take them."""

from __future__ import annotations

import pytest
from tvm import relax, tirx

from sam3_tvm.compiler.graph.dataflow import float32_shape_of, shape_of


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
