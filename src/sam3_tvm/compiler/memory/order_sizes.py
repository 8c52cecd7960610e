"""The functions that compute sizes, in an order that doesn't change from one process to the next.

TVM's VMShapeLower makes a function for each place where sizes are computed. It stores them in the
order of a hash table whose keys are addresses (TVM 0.27), so the code of the same module would be
other bytes each time.
"""

from __future__ import annotations

from typing import Any

import tvm
import tvm_ffi
from tvm import tirx

__all__ = ["OrderSizes"]

Stmt = Any


@tvm.transform.module_pass(opt_level=0, name="OrderSizes")
class OrderSizes:
    """Sort the stores of every function of sizes by their places. Runs after VMShapeLower."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite the functions of sizes."""
        result = tvm.IRModule(mod.functions, attrs=mod.attrs)
        for gvar, func in mod.functions_items():
            if isinstance(func, tirx.PrimFunc) and "tirx.is_host_func" in (func.attrs or {}):
                result[gvar] = func.with_body(_ordered(func.body))
        return result


def _ordered(body: Stmt) -> Stmt:
    """The same stores by their places, where none of them is of a place that another reads."""
    stores = list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]
    places = {}
    for store in stores:
        if not isinstance(store, tirx.BufferStore) or len(store.indices) != 1:
            return body
        place = store.indices[0]
        if not isinstance(place, tirx.IntImm):
            return body
        places[int(place)] = store
    read: set[int] = set()

    def note(load: Any) -> None:
        read.update(int(i) if isinstance(i, tirx.IntImm) else -1 for i in load.indices)

    for store in stores:
        tvm_ffi.structural_walk(store.value, (tvm.ir.TensorLoad, note))
    if len(places) != len(stores) or read & {-1, *places}:
        return body
    return tirx.SeqStmt([places[place] for place in sorted(places)]) if len(stores) > 1 else body
