"""ExpandTranscendentals: accuracy over the whole range, special values, and no calls left."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tvm
from tvm import te, tirx, topi

from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.schedule.expand_transcendentals import ExpandTranscendentals
from sam3_tvm.compiler.schedule.schedule_cpu import ScheduleCpu
from sam3_tvm.compiler.targets.cpu import CpuTarget

TARGET = CpuTarget.native()
FUNCTIONS = {
    "exp": (topi.exp, np.exp),
    "erf": (topi.erf, np.vectorize(math.erf, otypes=["float64"])),
    "tanh": (topi.tanh, np.tanh),
    "sigmoid": (topi.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
}


def _func(name: str, n: int, dtype: str = "float32") -> tirx.PrimFunc:
    x = te.placeholder((n,), dtype, "x")
    return te.create_prim_func([x, FUNCTIONS[name][0](x)]).with_attr("global_symbol", "main")


def _expanded(name: str, n: int) -> tvm.IRModule:
    passes = [ScheduleCpu(TARGET), ExpandTranscendentals()]
    return tvm.transform.Sequential(passes)(tvm.IRModule({"main": _func(name, n)}))


def _run(name: str, x: np.ndarray) -> np.ndarray:
    out = tvm.runtime.tensor(np.zeros_like(x))
    module = generate(_expanded(name, x.size), TARGET)
    module["main"](tvm.runtime.tensor(x), out)
    return out.numpy()


def _grid(limit: float) -> np.ndarray:
    positive = np.geomspace(1e-30, limit, 60_000)
    linear = np.linspace(-limit, limit, 60_001)
    return np.concatenate([-positive, linear, positive]).astype("float32")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_relative_error_is_within_what_is_stated(name: str) -> None:
    x = _grid({"exp": 87.0, "erf": 6.0, "tanh": 12.0, "sigmoid": 80.0}[name])
    want = FUNCTIONS[name][1](x.astype("float64"))
    got = _run(name, x)
    error = np.abs(got - want) / np.abs(np.where(want == 0, 1, want))
    worst = int(error.argmax())
    assert error[worst] <= 3e-7, f"{error[worst]:.2e} at {x[worst]}"


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("exp", 0.0, math.inf), ("erf", -1.0, 1.0), ("tanh", -1.0, 1.0), ("sigmoid", 0.0, 1.0)],
)
def test_limits_are_exact_and_nan_stays_nan(name: str, low: float, high: float) -> None:
    values = [-math.inf, -1e30, -120.0, 120.0, 1e30, math.inf, math.nan, 0.0, -0.0]
    got = _run(name, np.array(values * 4, "float32"))[: len(values)]
    assert (got[:3] == low).all()
    assert (got[3:6] == high).all()
    assert np.isnan(got[6])
    assert (got[7:] == {"exp": 1.0, "erf": 0.0, "tanh": 0.0, "sigmoid": 0.5}[name]).all()


def test_exp_underflows_gradually_and_overflows_where_libm_does() -> None:
    x = np.array([-87.5, -95.0, -103.0, -104.0, 88.7, 88.72, 88.73, 89.0] * 2, "float32")
    with np.errstate(over="ignore"):
        want = np.exp(x.astype("float64")).astype("float32")
    got = _run("exp", x)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=2e-45)
    assert (np.isinf(got) == np.isinf(want)).all()


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("level", ["x86-64-v3", "x86-64-v4", "aarch64"])
def test_no_call_is_left_in_the_generated_code(name: str, level: str) -> None:
    target = CpuTarget.parse(level)
    module = generate(_expanded(name, 4099), target)
    assert f"T.{name}(" not in _expanded(name, 4099).script()
    assembly = module.mod.inspect_source("asm")
    assert not any(symbol in assembly for symbol in ("expf", "erff", "tanhf"))


def test_other_types_and_other_calls_stay() -> None:
    double = tvm.IRModule({"main": _func("exp", 64, "float64")})
    tvm.ir.assert_structural_equal(ExpandTranscendentals()(double), double)
    x = te.placeholder((64,), "float32", "x")
    log = tvm.IRModule({"main": te.create_prim_func([x, topi.log(x)])})
    tvm.ir.assert_structural_equal(ExpandTranscendentals()(log), log)


def test_nested_calls_are_expanded_too() -> None:
    x = te.placeholder((64,), "float32", "x")
    func = te.create_prim_func([x, te.compute((64,), lambda i: te.exp(te.tanh(x[i])))])
    mod = ExpandTranscendentals()(tvm.IRModule({"main": func.with_attr("global_symbol", "main")}))
    assert "T.exp" not in mod.script()
    assert "T.tanh" not in mod.script()
    value = np.linspace(-3, 3, 64, dtype="float32")
    out = tvm.runtime.tensor(np.zeros_like(value))
    generate(mod, TARGET)["main"](tvm.runtime.tensor(value), out)
    np.testing.assert_allclose(out.numpy(), np.exp(np.tanh(value)), rtol=1e-6)
