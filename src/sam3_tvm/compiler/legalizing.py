"""Operators become kernels with the same operands, in the same order, in every process."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import tvm
from tvm import relax
from tvm.relax import block_builder

from sam3_tvm.importer.operands import ordered_call_tir_inputs
from sam3_tvm.sources.patches import PatchScope, attribute

__all__ = ["LegalizeInOrder"]

_scope = PatchScope()


@tvm.transform.module_pass(opt_level=0, name="LegalizeInOrder")
class LegalizeInOrder:
    """TVM's DispatchSortScan and LegalizeOps, but that a kernel takes its sizes in the order in
    which it names them.

    Which kernels are equal, and so are made once, and the numbers in the names of the others
    depend on that order. TVM's legalizations offer no place to choose it, so what they call is
    replaced while they run.
    """

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Legalize every operator of the module."""
        with _scope.entered(_replace):
            return relax.transform.LegalizeOps()(relax.backend.DispatchSortScan()(mod))


def _replace(stack: ExitStack) -> None:
    name = "gen_call_tir_inputs"
    ours: Any = ordered_call_tir_inputs
    stack.enter_context(attribute(block_builder, name, ours))
