"""Rows looked up in a table that is stored in fewer bits than they are computed with.

Of SAM 3's text encoder that is the table of tokens, 49408 x 1024: of which a phrase reads 32 rows.
What a narrow table saves is bytes of the artifact; a row is widened as it is copied.
"""

from __future__ import annotations

from tvm import tirx

from sam3_tvm.compiler.kernels.emit import (
    Expr,
    as_index,
    bind,
    kernel,
    load,
    parallel,
    size_var,
    store,
    tensor,
    vectors,
)
from sam3_tvm.compiler.kernels.product.stored_weights import STORED, load_wide, name_suffix
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["rows_kernel", "rows_name"]


def rows_name(rows: int, size: int, precision: str) -> str:
    """What a profile lists the kernel as."""
    return f"rows_{rows}x{size}{name_suffix(precision)}"


def rows_kernel(target: CpuTarget, rows: int, size: int, precision: str, index: str) -> Expr:
    """The PrimFunc ``(table [R, D], indices [N], y [N, D] float32)``, N symbolic: row n of y is
    row ``indices[n]`` of the table, the nearest that there is.

    Args:
        target: the CPU that it is for.
        rows: R.
        size: D.
        precision: of the table, "float32", "float16" or "bfloat16".
        index: dtype of the indices, "int32" or "int64".
    """
    with kernel(rows_name(rows, size, precision)) as made:
        count = size_var("count")
        table = tensor("table", (rows, size), STORED[precision])
        indices = tensor("indices", (count,), index)
        y = tensor("y", (count, size))
        with parallel(count) as n:
            asked = tirx.max(load(indices, n).astype("int64"), as_index(0))
            row = bind(tirx.min(asked, as_index(rows - 1)))
            for column, lanes in vectors(size, target.lanes):
                store(y, load_wide(table, row, column, lanes=lanes), n, column, lanes=lanes)
    return made.func
