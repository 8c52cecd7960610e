"""Code generation for CPUs, against TVM's own pipeline."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import tirx
from tvm.s_tir.pipeline import default_s_tir_pipeline
from tvm.script import tirx as T

from sam3_tvm.compiler import codegen
from sam3_tvm.compiler.kernels.emit import EXACT_BUFFERS, kernel, load, store, tensor
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue
from sam3_tvm.compiler.kernels.product.linear import linear_kernel
from sam3_tvm.compiler.targets.cpu import CpuTarget, TargetError

TARGET = CpuTarget.native()


def lowered(func, pipeline):
    """What a pipeline makes of a function, without the marks that tell them apart."""
    target = TARGET.tvm_target()
    mod = tvm.IRModule({"main": func.with_attr("global_symbol", "main")})
    mod = tvm.tirx.transform.BindTarget(target.with_host(target))(mod)
    (made,) = pipeline()[0](mod).functions.values()
    return made.without_attr(EXACT_BUFFERS) if EXACT_BUFFERS in made.attrs else made


def test_a_kernel_becomes_what_tvms_pipeline_makes_of_it():
    func = linear_kernel(TARGET, 40, 24, Epilogue(bias=True, activation="relu"))
    assert EXACT_BUFFERS in func.attrs
    ours = lowered(func, codegen._pipeline)
    tvm.ir.assert_structural_equal(ours, lowered(func, default_s_tir_pipeline), map_free_vars=True)


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


def byte_products():
    """Sums of products of four bytes each, by an instruction that not every x86-64-v4 has."""
    with kernel("byte_products", features=["AVX512VNNI"]) as made:
        a, b = tensor("a", (64,), "int8"), tensor("b", (64,), "int8")
        total = tensor("total", (16,), "int32")
        value = tirx.call_llvm_pure_intrin(
            "int32x16",
            "llvm.x86.avx512.vpdpbusd.512",
            load(total, 0, lanes=16),
            load(a, 0, lanes=64),
            load(b, 0, lanes=64),
        )
        store(total, value, 0, lanes=16)
    return tvm.IRModule({"main": made.func.with_attr("global_symbol", "main")})


def test_a_kernel_gets_the_feature_that_it_states():
    target = CpuTarget.parse("x86-64-v4+avx512bf16+avx512vnni")
    assert codegen.used_features(byte_products()) == {"AVX512VNNI"}
    assert "vpdpbusd" in codegen.generate(byte_products(), target).mod.inspect_source("asm")
    with pytest.raises(TargetError, match="uses AVX512VNNI, which it lacks"):
        codegen.generate(byte_products(), CpuTarget.parse("x86-64-v4"))


@pytest.mark.cpu("X86_V4", "AVX512VNNI")
def test_products_of_bytes_are_exact_where_the_cpu_has_them():
    rng = np.random.default_rng(0)
    # The instruction takes its first operand's bytes for unsigned.
    a, b = rng.integers(0, 128, 64, np.int8), rng.integers(-128, 128, 64, np.int8)
    total = rng.integers(-1000, 1000, 16, np.int32)
    target = CpuTarget.parse("x86-64-v4+avx512vnni")
    out = tvm.runtime.tensor(total)
    run = codegen.generate(byte_products(), target)["main"]
    run(tvm.runtime.tensor(a), tvm.runtime.tensor(b), out)
    products = a.astype(np.int64) * b.astype(np.int64)
    np.testing.assert_array_equal(out.numpy(), total + products.reshape(16, 4).sum(1))


def test_code_that_uses_no_feature_is_that_of_the_level():
    func = linear_kernel(TARGET, 5, 8, Epilogue()).with_attr("global_symbol", "main")
    mod = tvm.IRModule({"main": func})
    assert codegen.used_features(mod) == frozenset()
    level, more = (CpuTarget.parse(t) for t in ("x86-64-v4", "x86-64-v4+avx512vnni"))
    code = [codegen.generate(mod, t).mod.inspect_source("asm") for t in (level, more)]
    assert code[0] == code[1]
