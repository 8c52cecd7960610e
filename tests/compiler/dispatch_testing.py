"""What the tests of the dispatch passes share: small functions, built, inspected and run."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax, tirx
from tvm.relax import TensorType

from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.targets.cpu import CpuTarget

TARGET = CpuTarget.native()


def build(inputs, params, body):
    """A module with one function ``main(*inputs, *params)``; shapes may hold strings."""
    symbols = {}

    def var(name, shape, dtype="float32"):
        dims = [
            symbols.setdefault(d, tirx.Var(d, "int64")) if isinstance(d, str) else d for d in shape
        ]
        return relax.Var(name, TensorType(dims, dtype))

    arguments = [var(name, *rest) for name, *rest in [*inputs, *params]]
    builder = relax.BlockBuilder()
    with builder.function("main", arguments, attrs={"num_input": len(inputs)}):
        with builder.dataflow():
            out = builder.emit_output(builder.normalize(body(builder.emit, *arguments)))
        builder.emit_func_output(out)
    return builder.get()


def kernels(mod):
    """Names of the kernels that ``main`` calls, in order."""
    names = []

    def visit(e):
        if isinstance(e, relax.Call) and e.op == tvm.ir.Op.get("relax.call_tir"):
            names.append(e.args[0].name_hint)

    relax.analysis.post_order_visit(mod["main"], visit)
    return names


def operators(mod):
    """Names of the Relax operators left in ``main``."""
    names = set()

    def visit(e):
        if isinstance(e, relax.Call) and isinstance(e.op, tvm.ir.Op):
            names.add(e.op.name.removeprefix("relax."))

    relax.analysis.post_order_visit(mod["main"], visit)
    return names


def run(mod, *arrays):
    vm = relax.VirtualMachine(generate(mod, TARGET), tvm.cpu())
    out = vm["main"](*map(tvm.runtime.tensor, arrays))
    return out.numpy() if hasattr(out, "numpy") else [o.numpy() for o in out]


def randoms(*shapes):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, dtype="float32") for shape in shapes]


def close(got, want):
    assert got.shape == want.shape
    error = np.abs(got - want).max(initial=0)
    assert error <= 1e-5 * max(1, np.abs(want).max(initial=0)), f"max error {error:.2e}"
