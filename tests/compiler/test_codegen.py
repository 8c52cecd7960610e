"""Code generation for CPUs, against TVM's own pipeline."""

from __future__ import annotations

import numpy as np
import tvm
from tvm.s_tir.pipeline import default_s_tir_pipeline
from tvm.script import tirx as T

from sam3_tvm.compiler import codegen
from sam3_tvm.compiler.kernels.emit import EXACT_BUFFERS
from sam3_tvm.compiler.kernels.product.linear import Epilogue, linear_kernel
from sam3_tvm.compiler.targets.cpu import CpuTarget

TARGET = CpuTarget.native()


def lowered(func, pipeline):
    """What a pipeline makes of a function, without the marks that tell them apart."""
    target = TARGET.tvm_target()
    mod = tvm.IRModule({"main": func.with_attr("global_symbol", "main")})
    mod = tvm.tirx.transform.BindTarget(target.with_host(target))(mod)
    (made,) = pipeline()[0](mod).functions.values()
    return made.without_attr(EXACT_BUFFERS) if EXACT_BUFFERS in made.attrs else made


def test_a_kernel_becomes_what_tvms_pipeline_makes_of_it():
    kernel = linear_kernel(TARGET, 40, 24, Epilogue(bias=True, activation="relu"))
    assert EXACT_BUFFERS in kernel.attrs
    ours = lowered(kernel, codegen._pipeline)
    tvm.ir.assert_structural_equal(
        ours, lowered(kernel, default_s_tir_pipeline), map_free_vars=True
    )


@T.prim_func(s_tir=True)
def rows(a: T.Buffer((64, 128), "float32"), b: T.Buffer((64, 128), "float32")):
    """A row at a time, in a buffer that a schedule left as large as the whole."""
    T.func_attr({"global_symbol": "main", "tirx.noalias": True})
    with T.sblock("root"):
        doubled = T.sblock_alloc_buffer((64, 128))
        for i in range(64):
            for j in range(128):
                with T.sblock("double"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    doubled[vi, vj] = a[vi, vj] * T.float32(2)
            for j in range(128):
                with T.sblock("increment"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    b[vi, vj] = doubled[vi, vj] + T.float32(1)


def test_buffers_that_a_schedule_left_shrink_to_what_is_used():
    script = lowered(rows, codegen._pipeline).script()
    allocated = [line for line in script.splitlines() if "alloc_buffer(" in line]
    assert len(allocated) == 1
    assert "(128,)" in allocated[0]
    x = np.arange(64 * 128, dtype="float32").reshape(64, 128)
    out = tvm.runtime.tensor(np.zeros_like(x))
    codegen.generate(tvm.IRModule({"main": rows}), TARGET)["main"](tvm.runtime.tensor(x), out)
    np.testing.assert_array_equal(out.numpy(), 2 * x + 1)
