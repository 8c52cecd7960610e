"""lift_params and lift_constants: what leaves a function, and that the numbers stay."""

# TVMScript classes hold functions, not methods.
# ruff: noqa: N805

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.script import tirx as T

from sam3_tvm.compiler.memory.weights import lift_constants, lift_params, transform_name
from sam3_tvm.compiler.targets.cpu import CpuTarget

TARGET = CpuTarget.native().tvm_target()


@I.ir_module
class Model:
    @T.prim_func(private=True, s_tir=True)
    def double(a: T.Buffer((16,), "float32"), b: T.Buffer((16,), "float32")):
        for i in range(16):
            with T.sblock("double"):
                vi = T.axis.spatial(16, i)
                b[vi] = a[vi] * T.float32(2)

    @R.function
    def linear(
        x: R.Tensor(("b", 4, 8), "float32"),
        w: R.Tensor((16, 8), "float32"),
        bias: R.Tensor((16,), "float32"),
    ):
        R.func_attr({"num_input": 1})
        cls = Model
        with R.dataflow():
            y = R.matmul(x, R.permute_dims(w))
            y1 = R.add(y, bias)
            twice = R.call_tir(cls.double, (bias,), out_ty=R.Tensor((16,), "float32"))
            z = R.add(y1, twice)
            again = R.matmul(x, R.permute_dims(w))
            out = R.add(z, again)
            R.output(out)
        return out

    @R.function
    def scale(x: R.Tensor(("b", 8), "float32"), w: R.Tensor((8,), "float32")):
        R.func_attr({"num_input": 1})
        with R.dataflow():
            out = R.multiply(x, w)
            R.output(out)
        return out

    @R.function
    def plain(x: R.Tensor(("b", 8), "float32")):
        R.func_attr({"num_input": 1})
        with R.dataflow():
            out = R.add(x, x)
            R.output(out)
        return out


NAMES = ["linear", "scale", "plain"]
PARAMS = {"linear": [(16, 8), (16,)], "scale": [(8,)], "plain": []}


def _tensors(shapes, seed: int = 0) -> list[tvm.runtime.Tensor]:
    rng = np.random.default_rng(seed)
    return [tvm.runtime.tensor(rng.standard_normal(s).astype("float32")) for s in shapes]


def _machine(mod: tvm.IRModule) -> relax.VirtualMachine:
    return relax.VirtualMachine(tvm.compile(mod, TARGET), tvm.cpu())


def _function(mod: tvm.IRModule, name: str) -> relax.Function:
    return mod[mod.get_global_var(name)]


@pytest.fixture(scope="module")
def split() -> tuple[tvm.IRModule, tvm.IRModule]:
    return lift_params(Model, NAMES)


@pytest.fixture(scope="module")
def machines(split) -> list[relax.VirtualMachine]:
    return [_machine(mod) for mod in (Model, *split)]


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_split_functions_give_the_same_numbers(machines, name: str, batch: int) -> None:
    whole, runtime, transform = machines
    shape = (batch, 4, 8) if name == "linear" else (batch, 8)
    (x,) = _tensors([shape], seed=1)
    params = _tensors(PARAMS[name])
    want = whole[name](x, *params).numpy()
    lifted = transform[transform_name(name)](tuple(params))
    got = runtime[name](x, lifted).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def test_nothing_that_depends_on_weights_alone_stays(split) -> None:
    runtime, transform = split
    text = _function(runtime, "linear").script()
    assert "permute_dims" not in text
    assert "call_tir" not in text
    # Nor a kernel that no function calls any more.
    assert [g.name_hint for g in runtime.get_global_vars() if g.name_hint == "double"] == []
    assert "double" in [g.name_hint for g in transform.get_global_vars()]


def test_every_function_takes_its_inputs_and_one_tuple(split) -> None:
    runtime, _ = split
    for name, entries in {"linear": 3, "scale": 1, "plain": 0}.items():
        x, params = _function(runtime, name).params
        assert isinstance(x.ty, relax.TensorType)
        assert isinstance(params.ty, relax.TupleType)
        # linear: its bias, twice that, and one transposed weight though two are computed.
        assert len(params.ty.fields) == entries


def test_a_parameter_used_as_it_is_isnt_copied(machines) -> None:
    *_, machine = machines
    for name in ("scale", "linear"):
        params = _tensors(PARAMS[name])
        lifted = machine[transform_name(name)](tuple(params))
        assert lifted[0].data_ptr() == params[-1].data_ptr()


def test_functions_not_named_keep_their_parameters() -> None:
    runtime, transform = lift_params(Model, ["linear"])
    tvm.ir.assert_structural_equal(_function(runtime, "scale"), _function(Model, "scale"))
    assert [
        g.name_hint for g, f in transform.functions_items() if isinstance(f, relax.Function)
    ] == [transform_name("linear")]


def test_the_given_module_is_not_changed() -> None:
    before = Model.script()
    lift_params(Model, NAMES)
    assert Model.script() == before


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no Relax function is named 'linaer'.*linear"):
        lift_params(Model, ["linaer"])


def test_a_function_without_num_input_is_refused() -> None:
    mod = tvm.IRModule({"scale": _function(Model, "scale").without_attr("num_input")})
    with pytest.raises(ValueError, match="num_input"):
        lift_params(mod, ["scale"])


def _constants_module(table: np.ndarray) -> tvm.IRModule:
    data = tvm.runtime.tensor(table)
    bb = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(table.shape, "float32"))
    w = relax.Var("constant_0", relax.TensorType(table.shape, "float32"))
    with bb.function("f", [x, w], attrs={"num_input": 1}):
        with bb.dataflow():
            y = bb.emit(relax.op.add(x, relax.const(data)))
            y = bb.emit(relax.op.multiply(y, relax.const(data)))
            y = bb.emit(relax.op.multiply(y, relax.const(2.0)))
            y = bb.emit(relax.op.subtract(y, relax.const(tvm.runtime.tensor(table + 1))))
            out = bb.emit_output(relax.op.add(y, w))
        bb.emit_func_output(out)
    return bb.get()


def test_large_constants_become_parameters_once() -> None:
    table = np.arange(300, dtype="float32").reshape(3, 100)
    mod = _constants_module(table)
    lifted, values = lift_constants(mod)
    assert list(values) == ["f"]
    assert len(values["f"]) == 2
    func = _function(lifted, "f")
    assert [p.name for p in func.params] == ["x", "constant_0", *values["f"]]
    assert len({p.name for p in func.params}) == 4
    assert func.attrs["num_input"] == 1
    # The scalar stays where the compiler sees it.
    assert "R.const(2.0" in func.script()
    inputs = _tensors([(3, 100), (3, 100)])
    want = _machine(mod)["f"](*inputs).numpy()
    got = _machine(lifted)["f"](*inputs, *values["f"].values()).numpy()
    np.testing.assert_array_equal(got, want)


def test_small_constants_stay() -> None:
    mod = _constants_module(np.ones((4, 64), dtype="float32"))
    lifted, values = lift_constants(mod)
    assert values == {}
    tvm.ir.assert_structural_equal(lifted, mod)


def test_lifted_constants_can_be_transformed_like_weights() -> None:
    data = tvm.runtime.tensor(np.arange(600, dtype="float32").reshape(300, 2))
    bb = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 300), "float32"))
    with bb.function("f", [x], attrs={"num_input": 1}):
        with bb.dataflow():
            out = bb.emit_output(relax.op.add(x, relax.op.permute_dims(relax.const(data))))
        bb.emit_func_output(out)
    lifted, values = lift_constants(bb.get())
    runtime, transform = lift_params(lifted, ["f"])
    assert "permute_dims" not in runtime.script()
    params = _machine(transform)[transform_name("f")](tuple(values["f"].values()))
    (x_value,) = _tensors([(2, 300)])
    got = _machine(runtime)["f"](x_value, params).numpy()
    np.testing.assert_array_equal(got, x_value.numpy() + data.numpy().T)
