"""ScheduleCpu: the numbers stay those of the unscheduled loops, and the loops are no longer plain.

The oracle is the same module compiled without the pass: TVM's own loops, one scalar at a time.
"""

# TVMScript classes hold functions, not methods.
# ruff: noqa: N805

from __future__ import annotations

import re

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import relax, te, tirx, topi
from tvm.error import InternalError
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import ScheduleError
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.script import tirx as T

from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.schedule.nests import PARALLEL_FROM, fuse, parallel
from sam3_tvm.compiler.schedule.schedule_cpu import IS_SCHEDULED, ScheduleCpu
from sam3_tvm.compiler.targets.cpu import CpuTarget

TARGET = CpuTarget.native()
ops = relax.op

F, L, B = "float32", "int64", "bool"
# name: (function of Relax variables, [(shape, dtype)]); "n" is a symbolic axis.
CASES = {
    "add_bias_relu": (lambda x, b: ops.nn.relu(ops.add(x, b)), [(("n", 7, 40), F), ((40,), F)]),
    "scalar": (lambda x: ops.multiply(x, x), [((), F)]),
    "add_rows": (
        lambda x, r: ops.add(x, ops.expand_dims(r, 1)),
        [(("n", 32, 64), F), ((32,), F)],
    ),
    "scalar_operand": (ops.multiply, [(("n", 8, 16), F), ((), F)]),
    "scalar_operand_of_a_sum": (
        lambda x, s: ops.sum(ops.multiply(ops.permute_dims(x, [0, 2, 1]), s), axis=-1),
        [(("n", 8, 16), F), ((), F)],
    ),
    "flat": (lambda x: ops.add(x, x), [((10007,), F)]),
    "long_rows": (lambda x: ops.add(x, x), [((3, 4097), F)]),
    "odd_rows": (lambda x, y: ops.maximum(x, y), [(("n", 5, 201), F), ((5, 1), F)]),
    "symbolic_rows": (lambda x: ops.add(x, x), [((33, "n"), F)]),
    "where": (lambda c, x: ops.where(c, x, ops.negative(x)), [(("n", 65), B), (("n", 65), F)]),
    "cast": (lambda x: ops.astype(x, "int32"), [(("n", 65), F)]),
    "transpose": (lambda x: ops.permute_dims(x, [0, 2, 1]), [(("n", 70, 40), F)]),
    "transpose_add": (
        lambda x, y: ops.add(ops.permute_dims(x, [0, 2, 1, 3]), y),
        [(("n", 6, 9, 32), F), (("n", 9, 6, 32), F)],
    ),
    "transpose_tiles": (lambda x: ops.permute_dims(x, [0, 2, 1]), [(("n", 64, 48), F)]),
    "tokens_to_picture": (
        lambda x: ops.permute_dims(ops.reshape(x, (-1, 12, 8, 48)), [0, 3, 1, 2]),
        [(("n", 96, 48), F)],
    ),
    "concat": (lambda x, y: ops.concat([x, y], axis=1), [(("n", 3, 16), F), (("n", 4, 16), F)]),
    "slice": (
        lambda x: ops.strided_slice(x, [1, 2], [1, 3], [64, 31], [3, 2]),
        [(("n", 70, 40), F)],
    ),
    "pad": (lambda x: ops.nn.pad(x, [0, 0, 1, 1, 2, 1]), [(("n", 70, 40), F)]),
    # Indices are divided by n + 6, of which TVM can't prove what it would like to.
    "reshape_of_a_sum_of_sizes": (
        lambda x, y: ops.reshape(
            ops.nn.softmax(ops.concat([x, y], axis=2), axis=-1),
            [x.ty.shape.values[0], x.ty.shape.values[0] + 6, 4, 8],
        ),
        [(("n", 1, "n", 32), F), (("n", 1, 6, 32), F)],
    ),
    "softmax_of_a_sum_of_sizes": (
        lambda x, y: ops.nn.softmax(ops.concat([x, y], axis=1), axis=-1),
        [(("n", "n", 4, 32), F), (("n", 6, 4, 32), F)],
    ),
    "reshape_add": (lambda x: ops.add(ops.reshape(x, (70, 40)), x), [((70, 40), F)]),
    "take": (lambda x, i: ops.take(x, i, axis=0), [((50, 64), F), (("n",), L)]),
    "softmax": (lambda x: ops.nn.softmax(x, axis=-1), [(("n", 12, 576), F)]),
    "softmax_odd": (lambda x: ops.nn.softmax(x, axis=-1), [(("n", 8, 201), F)]),
    "softmax_symbolic": (lambda x: ops.nn.softmax(x, axis=-1), [((9, "n"), F)]),
    "softmax_channels": (lambda x: ops.nn.softmax(x, axis=1), [(("n", 12, 40), F)]),
    "log_softmax": (lambda x: ops.nn.log_softmax(x, axis=-1), [(("n", 64), F)]),
    "layer_norm": (
        lambda x, g, b: ops.nn.layer_norm(x, g, b, axes=[-1]),
        [(("n", 70, 256), F), ((256,), F), ((256,), F)],
    ),
    "group_norm": (
        lambda x, g, b: ops.nn.group_norm(x, g, b, 4, channel_axis=1, axes=[2, 3]),
        [(("n", 32, 10, 12), F), ((32,), F), ((32,), F)],
    ),
    "sum_last": (lambda x: ops.sum(x, axis=-1), [(("n", 12, 576), F)]),
    "sum_last_odd": (lambda x: ops.sum(x, axis=-1, keepdims=True), [(("n", 12, 57), F)]),
    "sum_middle": (lambda x: ops.sum(x, axis=1), [(("n", 33, 96), F)]),
    "sum_columns": (lambda x: ops.sum(x, axis=0), [((33, "n"), F)]),
    "sum_symbolic": (lambda x: ops.sum(x, axis=1), [((33, "n"), F)]),
    "sum_space": (lambda x: ops.sum(x, axis=[2, 3]), [(("n", 12, 18, 16), F)]),
    "mean_all": (lambda x: ops.mean(x), [((64, 80), F)]),
    "max_last": (lambda x: ops.max(x, axis=-1), [(("n", 64), F)]),
    "variance": (lambda x: ops.variance(x, axis=-1), [(("n", 64), F)]),
    "argmax": (lambda x: ops.argmax(x, axis=-1), [(("n", 64), F)]),
    "matmul": (ops.matmul, [(("n", 8, 72, 40), F), (("n", 8, 40, 64), F)]),
    "matmul_odd": (ops.matmul, [(("n", 7, 40), F), ((40, 33), F)]),
    "matmul_symbolic": (ops.matmul, [((6, 40), F), ((40, "n"), F)]),
    "einsum": (
        lambda q, m: ops.einsum([q, m], "bqc,bchw->bqhw"),
        [(("n", 10, 32), F), (("n", 32, 6, 16), F)],
    ),
    "conv2d": (
        lambda x, w: ops.nn.conv2d(x, w, padding=1),
        [(("n", 8, 10, 11), F), ((16, 8, 3, 3), F)],
    ),
    "max_pool": (
        lambda x: ops.nn.max_pool2d(x, pool_size=(2, 2), strides=(2, 2)),
        [(("n", 16, 24, 24), F)],
    ),
    "resize_nearest": (
        lambda x: ops.image.resize2d(
            x, size=(48, 48), layout="NCHW", method="nearest_neighbor",
            coordinate_transformation_mode="asymmetric", rounding_method="floor",
        ),
        [(("n", 16, 24, 24), F)],
    ),
    "resize_linear": (
        lambda x: ops.image.resize2d(x, size=(37, 41), layout="NCHW", method="linear"),
        [(("n", 4, 24, 24), F)],
    ),
    "roi_align": (
        lambda x, r: ops.vision.roi_align(x, r, pooled_size=(7, 7), spatial_scale=1.0),
        [((2, 8, 12, 12), F), (("n", 5), F)],
    ),
    "cumsum": (lambda x: ops.cumsum(x, axis=1), [(("n", 40), F)]),
    "argsort": (lambda x: ops.argsort(x, axis=-1), [(("n", 40), F)]),
    "topk": (lambda x: ops.topk(x, k=5, axis=-1, ret_type="values"), [(("n", 40), F)]),
    "scatter": (
        lambda x, i, u: ops.scatter_elements(x, i, u, axis=1),
        [(("n", 40), F), (("n", 3), L), (("n", 3), F)],
    ),
    "trilu": (lambda x: ops.triu(x, 1), [(("n", 20, 20), F)]),
}  # fmt: skip


def _module(cases: dict[str, object]) -> tvm.IRModule:
    bb = relax.BlockBuilder()
    for name, (build, inputs) in cases.items():
        n = tirx.Var("n", "int64")
        args = [
            relax.Var(f"x{i}", relax.TensorType([n if d == "n" else d for d in shape], dtype))
            for i, (shape, dtype) in enumerate(inputs)
        ]
        with bb.function(name, args):
            with bb.dataflow():
                out = bb.emit_output(build(*args))
            bb.emit_func_output(out)
    return bb.get()


def _lower(mod: tvm.IRModule) -> tvm.IRModule:
    with TARGET.tvm_target():
        return tvm.transform.Sequential(
            [
                relax.transform.LegalizeOps(),
                relax.transform.AnnotateTIROpPattern(),
                relax.transform.FuseOps(),
                relax.transform.FuseTIR(),
            ]
        )(mod)


def _machine(mod: tvm.IRModule) -> relax.VirtualMachine:
    return relax.VirtualMachine(generate(mod, TARGET), tvm.cpu())


@pytest.fixture(scope="module")
def machines() -> tuple[relax.VirtualMachine, relax.VirtualMachine]:
    lowered = _lower(_module(CASES))
    return _machine(lowered), _machine(ScheduleCpu(TARGET)(lowered))


def _inputs(name: str, n: int) -> list[tvm.runtime.Tensor]:
    rng = np.random.default_rng(n)
    arrays = []
    for shape, dtype in CASES[name][1]:
        shape = [n if d == "n" else d for d in shape]
        if dtype == "float32":
            array = rng.standard_normal(shape) * 4
            if name == "roi_align" and shape[-1] == 5:
                array = np.concatenate([rng.integers(0, 2, (n, 1)), rng.random((n, 4)) * 12], 1)
        else:
            array = rng.integers(0, 2 if dtype == "bool" else 40, shape)
        arrays.append(tvm.runtime.tensor(np.asarray(array, dtype)))
    return arrays


@pytest.mark.parametrize("n", [0, 1, 3, 64])
@pytest.mark.parametrize("name", CASES)
def test_results_are_those_of_the_plain_loops(machines, name: str, n: int) -> None:
    plain, scheduled = machines
    inputs = _inputs(name, n)
    got = scheduled[name](*inputs).numpy()
    if name == "sum_symbolic" and n == 0:
        # The plain loops leave a sum over nothing unwritten.
        want = np.zeros(33, "float32")
    else:
        want = plain[name](*inputs).numpy()
    if name == "sum_symbolic" and n == 0:
        # The plain loops never write it; test_empty_reductions.py has the definition.
        want = np.zeros_like(want)
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    # Sums are added up in another order; everything else is the same arithmetic.
    scale = np.abs(want).max(initial=1)
    error = np.abs(got.astype("float64") - want).max(initial=0)
    assert error <= 5e-6 * scale, f"max error {error:.2e} at values up to {scale:.2e}"


@pytest.mark.parametrize("level", ["x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64"])
def test_every_target_level_compiles(level: str) -> None:
    names = ["add_bias_relu", "softmax", "layer_norm", "sum_last", "sum_middle", "matmul"]
    target = CpuTarget.parse(level)
    mod = ScheduleCpu(target)(_lower(_module({name: CASES[name] for name in names})))
    assert all(f.attrs[IS_SCHEDULED] for f in _prim_funcs(mod).values())
    assert "vectorized" in mod.script()
    generate(mod, target)


def _prim_funcs(mod: tvm.IRModule) -> dict[str, tirx.PrimFunc]:
    return {g.name_hint: f for g, f in mod.functions_items() if isinstance(f, tirx.PrimFunc)}


def _scheduled_text(name: str) -> str:
    mod = ScheduleCpu(CpuTarget.parse("x86-64-v3"))(_lower(_module({name: CASES[name]})))
    return "\n".join(f.script() for f in _prim_funcs(mod).values())


@pytest.mark.parametrize(
    "name",
    ["add_bias_relu", "add_rows", "softmax", "layer_norm", "sum_last", "sum_middle", "matmul"],
)
def test_loops_are_parallel_and_vectorised(name: str) -> None:
    text = _scheduled_text(name)
    assert "T.parallel" in text
    assert "T.vectorized(T.int64(8))" in text


def _copy_over_a_sum_of_sizes() -> tuple[Schedule, list[object]]:
    n, four = tirx.Var("n", "int64"), tirx.IntImm("int64", 4)
    x = te.placeholder((n, n + 6, four), "float32")
    sch = Schedule(te.create_prim_func([x, te.compute(x.shape, lambda *i: x(*i))]))
    (block,) = sch.get_child_blocks(sch.get_sblock("root"))
    return sch, sch.get_loops(block)


def test_tvm_cannot_fuse_loops_over_a_sum_of_sizes_and_the_outermost_stands_in() -> None:
    sch, loops = _copy_over_a_sum_of_sizes()
    before = sch.mod
    with pytest.raises(InternalError, match=re.escape("CanProveDivisible(info.padding_factor")):
        sch.fuse(*loops)  # once this works, schedule_nests.fuse can go
    assert tvm_ffi.structural_equal(sch.mod, before)
    assert fuse(sch, loops) is loops[0]
    parallel(sch, loops, PARALLEL_FROM)
    kinds = [int(sch.get(loop).kind) for loop in loops]
    assert kinds == [tirx.ForKind.PARALLEL, tirx.ForKind.SERIAL, tirx.ForKind.SERIAL]


def test_other_errors_of_tvm_in_fusing_loops_get_through() -> None:
    sch, loops = _copy_over_a_sum_of_sizes()
    with pytest.raises(ScheduleError):
        fuse(sch, loops[::-1])

    class Broken:
        def fuse(self, *_loops: object) -> None:
            raise InternalError("Check failed: another")

    with pytest.raises(InternalError, match="another"):
        fuse(Broken(), loops)


@pytest.mark.parametrize("name", ["softmax", "layer_norm"])
def test_blocks_with_common_rows_share_one_parallel_loop(name: str) -> None:
    assert _scheduled_text(name).count("T.parallel") == 1


def test_a_reduction_over_rows_keeps_its_sums_in_registers() -> None:
    text = _scheduled_text("matmul")
    assert 'scope="local"' in text
    assert "T.unroll" in text


@pytest.mark.parametrize("name", ["transpose_tiles", "tokens_to_picture"])
def test_transpositions_run_in_square_tiles(name: str) -> None:
    # A line of 16 values read, 8 of them side by side written.
    text = _scheduled_text(name)
    assert re.search(r"T\.grid\(T\.int64\(8\), T\.int64\(16\)\)", text)


def test_a_pooling_window_runs_outside_its_row() -> None:
    text = _scheduled_text("max_pool")
    assert "max_pool2d_init" in text or "pool_max_init" in text
    assert re.search(r"T\.grid\(T\.int64\(2\), T\.int64\(2\), T\.int64\(12\)\)", text)


def test_small_functions_stay_on_one_thread() -> None:
    mod = _lower(_module({"f": (lambda x: ops.add(x, x), [((4, 4), F)])}))
    assert "T.parallel" not in ScheduleCpu(TARGET)(mod).script()


def test_fused_elementwise_producers_are_inlined() -> None:
    case = (
        lambda x, y: ops.nn.relu(ops.multiply(ops.add(x, y), x)),
        [(("n", 64), F), (("n", 64), F)],
    )
    mod = ScheduleCpu(TARGET)(_lower(_module({"f": case})))
    (func,) = _prim_funcs(mod).values()
    assert not func.body.block.alloc_buffers


def test_a_producer_that_a_matmul_would_recompute_is_not_inlined() -> None:
    a, w = te.placeholder((16, 32), name="a"), te.placeholder((32, 48), name="w")
    func = te.create_prim_func([a, w, topi.matmul(topi.exp(a), w)])
    mod = ScheduleCpu(TARGET)(tvm.IRModule({"f": func}))
    assert mod["f"].script().count("T.exp") == 1
    assert mod["f"].body.block.alloc_buffers


def test_functions_already_scheduled_are_left_alone() -> None:
    @I.ir_module
    class Before:
        @T.prim_func(private=True, s_tir=True)
        def twice(a: T.Buffer((8192, 64), "float32"), b: T.Buffer((8192, 64), "float32")):
            T.func_attr({"tirx.is_scheduled": True})
            for i, j in T.grid(8192, 64):
                with T.sblock("twice"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    b[vi, vj] = a[vi, vj] + a[vi, vj]

        @R.function
        def main(a: R.Tensor((8192, 64), "float32")) -> R.Tensor((8192, 64), "float32"):
            cls = Before
            return R.call_tir(cls.twice, (a,), out_ty=R.Tensor((8192, 64), "float32"))

    tvm.ir.assert_structural_equal(ScheduleCpu(TARGET)(Before), Before)


def test_the_given_module_is_not_changed() -> None:
    mod = _lower(_module({"softmax": CASES["softmax"]}))
    before = mod.script()
    ScheduleCpu(TARGET)(mod)
    assert mod.script() == before
