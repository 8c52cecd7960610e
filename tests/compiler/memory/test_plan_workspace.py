# ruff: noqa: N805, SIM108 - functions of an IRModule have no self, and Relax no ternaries

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.script import tirx as T

from sam3_tvm.compiler import pipeline
from sam3_tvm.compiler.memory.plan_workspace import MEMORY, VIEWS
from sam3_tvm.compiler.pipeline import Options
from sam3_tvm.compiler.targets.cpu import CpuTarget
from sam3_tvm.runtime.execution import workspace
from sam3_tvm.runtime.execution.workspace import PlannedFunction, Workspace, pages, tensor

OPTIONS = Options(CpuTarget.native(), plan_memory=True)


@I.ir_module
class Chain:
    """Products that cannot be fused, reshapes between them, two results and an input handed on."""

    @R.function
    def f(
        x: R.Tensor(("b", 6, 4), "float32"),
        y: R.Tensor(("b", "p"), "float32"),
        weights: R.Tuple(R.Tensor((4, 4), "float32")),
    ):
        R.func_attr({"num_input": 2, "tir_var_lower_bound": {"b": 1, "p": 0}})
        b, p = T.int64(), T.int64()
        with R.dataflow():
            one = R.matmul(x, weights[0])
            two = R.matmul(R.reshape(one, R.shape([b * 6, 4])), weights[0])
            three = R.reshape(R.matmul(two, weights[0]), R.shape([b, 6, 4]))
            four = R.matmul(R.permute_dims(three, [0, 2, 1]), three)
            wide = R.matmul(R.reshape(y, R.shape([b, p, 1])), R.reshape(y, R.shape([b, 1, p])))
            row = R.sum(wide, axis=[1, 2], keepdims=True)
            result = R.add(R.matmul(three, four), row)
            flat = R.reshape(result, R.shape([b, 24]))
            R.output(flat, wide)
        return (flat, wide, y)


@I.ir_module
class Branch:
    @R.function
    def f(x: R.Tensor((3,), "float32"), flag: R.Tensor((), "bool")):
        doubled = R.add(x, x)
        if flag:
            out = R.exp(doubled)
        else:
            out = R.sin(doubled)
        return out


def expected(x, y, w):
    three = x @ w @ w @ w
    wide = y[:, :, None] * y[:, None, :]
    result = three @ (three.transpose(0, 2, 1) @ three) + wide.sum((1, 2), keepdims=True)
    return result.reshape(len(x), 24), wide, y


@pytest.fixture(scope="module")
def machine():
    executable = pipeline.build(Chain, OPTIONS)
    return relax.VirtualMachine(executable, tvm.cpu(), memory_cfg="naive")


def call(machine, workspace, batch, prompt, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, 6, 4), dtype=np.float32)
    y = rng.standard_normal((batch, prompt), dtype=np.float32)
    w = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)
    function = PlannedFunction(machine, "f", workspace, [tvm_ffi.Array([tensor(w)])])
    inputs = [tensor(x), tensor(y)]
    outputs = [np.from_dlpack(o) for o in function(inputs)]
    return function.needs(inputs), outputs, expected(x, y, w)


@pytest.mark.parametrize(("batch", "prompt"), [(1, 1), (1, 0), (3, 7), (2, 40)])
def test_values_are_those_of_numpy_for_every_size(machine, batch, prompt):
    _, outputs, wanted = call(machine, Workspace(), batch, prompt)
    for got, want in zip(outputs, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)


def test_results_outlive_later_calls_in_the_same_workspace(machine):
    workspace = Workspace()
    _, outputs, wanted = call(machine, workspace, 2, 5)
    for batch, prompt in ((2, 5), (4, 9), (1, 1)):
        call(machine, workspace, batch, prompt, seed=1)
    for got, want in zip(outputs, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)


def test_results_have_buffers_of_their_own_and_the_rest_shares(machine):
    (workspace, *results), _, _ = call(machine, Workspace(), 2, 5)
    assert results == [4 * 2 * 5 * 5, 4 * 2 * 24]
    # Each product's bytes, rounded up; all of them at once would need more.
    rows, square, sums = 4 * 2 * 24, 4 * 2 * 16, 64
    assert workspace % 64 == 0
    assert workspace < 6 * rows + square + sums


def test_results_that_nobody_holds_are_gone_before_the_next_call(machine, monkeypatch):
    made = []

    def recorded(count, **given):
        memory = pages(count, **given)
        made.append(weakref.ref(memory))
        return memory

    space = Workspace()
    call(machine, space, 2, 5)  # which makes the workspace
    monkeypatch.setattr(workspace, "pages", recorded)
    _, outputs, _ = call(machine, space, 2, 5)
    assert [one() is None for one in made] == [False, False]
    del outputs
    gc.collect()
    assert [one() is None for one in made] == [True, True]


def lowered(mod):
    for number in (pipeline.LEGALIZE, pipeline.SCHEDULE, pipeline.LOWER):
        mod = pipeline.run_phase(mod, number, OPTIONS)
    return mod


def packed_calls(func):
    names = []

    def visit(expr):
        if isinstance(expr, relax.Call) and isinstance(expr.op, relax.ExternFunc):
            names.append(expr.op.global_symbol)
        if isinstance(expr, relax.Call) and isinstance(expr.op, tvm.ir.Op):
            names.append(expr.op.name)

    relax.analysis.post_order_visit(func, visit)
    return names


def test_a_call_allocates_nothing_and_reshapes_only_inputs():
    mod = lowered(Chain)
    names = packed_calls(mod["f"])
    assert not {"relax.vm.alloc_storage", "relax.vm.alloc_tensor", "relax.vm.kill_object"} & {
        *names
    }
    # An input; a reshape of a value is one more view of its place.
    assert names.count("vm.builtin.reshape") == 2
    assert names.count("runtime.TVMTensorCreateView") == 2
    assert {g.name_hint for g in mod.get_global_vars()} >= {f"f{MEMORY}", f"f{VIEWS}"}


def test_a_function_that_branches_keeps_tvms_memory():
    mod = lowered(Branch)
    assert "relax.vm.alloc_storage" in packed_calls(mod["f"])
    assert len(mod["f"].params) == 2
    assert f"f{MEMORY}" not in {g.name_hint for g in mod.get_global_vars()}
    executable = pipeline.build(Branch, OPTIONS)
    machine = relax.VirtualMachine(executable, tvm.cpu())
    x = np.arange(3, dtype=np.float32)
    function = PlannedFunction(machine, "f", Workspace(), [])
    for flag, wanted in ((True, np.exp(x + x)), (False, np.sin(x + x))):
        (out,) = function([tensor(x), tensor(np.array(flag))])
        np.testing.assert_allclose(np.from_dlpack(out), wanted, rtol=1e-5, atol=1e-6)
    assert function.needs([tensor(x), tensor(np.array(True))]) == (0,)
