"""Which layers get the linear kernel, what goes along, and that the numbers stay."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tvm
from dispatch_testing import TARGET, build, close, kernels, operators, randoms, run
from tvm import relax
from tvm.relax import op as R

from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.dispatch.linear import DispatchLinear

erfc = np.vectorize(math.erfc, otypes=[float])


def dispatched(mod):
    return DispatchLinear(TARGET)(mod)


def linear(emit, x, w, bias):
    return emit(R.add(emit(R.matmul(x, emit(R.permute_dims(w)))), bias))


@pytest.mark.parametrize("leading", [(), (7,), ("b", 5), ("b", 3, 2), ("b", 2, 3, 1)])
def test_layer_with_bias_keeps_its_numbers_at_every_rank(leading):
    mod = build([("x", (*leading, 33))], [("w", (19, 33)), ("b", (19,))], linear)
    after = dispatched(mod)
    assert kernels(after) == ["linear_33x19_bias"]
    assert operators(after) <= {"call_tir", "reshape", "nn.pad", "permute_dims"}
    for b in (1, 3):
        shape = [b if d == "b" else d for d in leading]
        x, w, bias = randoms((*shape, 33), (19, 33), (19,))
        close(run(after, x, w, bias), x @ w.T + bias)


def test_packing_moves_to_compile_time():
    shapes = [("w", (40, 24)), ("b", (40,))]
    after = dispatched(build([("x", ("n", 24))], shapes, linear))
    lifted = relax.transform.LiftTransformParams()(after)
    assert operators(lifted) == {"call_tir"}
    x, w, bias = randoms((5, 24), (40, 24), (40,))
    vm = relax.VirtualMachine(generate(lifted, TARGET), tvm.cpu())
    packed = vm["main_transform_params"]([tvm.runtime.tensor(w), tvm.runtime.tensor(bias)])
    close(vm["main"](tvm.runtime.tensor(x), *packed).numpy(), x @ w.T + bias)


def test_mlp_with_residual_becomes_two_kernels():
    def body(emit, x, w1, b1, w2, b2):
        hidden = emit(R.nn.gelu(linear(emit, x, w1, b1)))
        return R.add(x, linear(emit, hidden, w2, b2))

    params = [("w1", (50, 16)), ("b1", (50,)), ("w2", (16, 50)), ("b2", (1, 1, 16))]
    after = dispatched(build([("x", ("b", 6, 16))], params, body))
    assert kernels(after) == ["linear_16x50_bias_gelu", "linear_50x16_bias_residual"]
    x, w1, b1, w2, b2 = randoms((2, 6, 16), (50, 16), (50,), (16, 50), (1, 1, 16))
    h = x @ w1.T + b1
    close(run(after, x, w1, b1, w2, b2), x + 0.5 * h * erfc(-h / math.sqrt(2)) @ w2.T + b2)


def test_relu_without_bias_and_weight_stored_as_k_by_n():
    def body(emit, x, w):
        return R.nn.relu(emit(R.matmul(x, w)))

    after = dispatched(build([("x", ("n", 12))], [("w", (12, 70))], body))
    assert kernels(after) == ["linear_12x70_relu"]
    x, w = randoms((9, 12), (12, 70))
    close(run(after, x, w), np.maximum(x @ w, 0))


def test_an_intermediate_that_is_used_twice_is_kept():
    def body(emit, x, w, bias):
        y = linear(emit, x, w, bias)
        return R.add(emit(R.nn.relu(y)), emit(R.sigmoid(y)))

    after = dispatched(build([("x", ("n", 12))], [("w", (8, 12)), ("b", (8,))], body))
    assert kernels(after) == ["linear_12x8_bias"]
    assert {"nn.relu", "sigmoid"} <= operators(after)
    x, w, bias = randoms((4, 12), (8, 12), (8,))
    y = x @ w.T + bias
    close(run(after, x, w, bias), np.maximum(y, 0) + 1 / (1 + np.exp(-y)))


def test_two_layers_that_meet_in_an_add_share_it_once():
    def body(emit, x, w1, b1, w2, b2):
        return R.add(linear(emit, x, w1, b1), linear(emit, x, w2, b2))

    params = [("w1", (8, 12)), ("b1", (8,)), ("w2", (8, 12)), ("b2", (8,))]
    after = dispatched(build([("x", ("n", 12))], params, body))
    assert sorted(kernels(after)) == ["linear_12x8_bias", "linear_12x8_bias_residual"]
    x, w1, b1, w2, b2 = randoms((4, 12), (8, 12), (8,), (8, 12), (8,))
    close(run(after, x, w1, b1, w2, b2), x @ w1.T + b1 + x @ w2.T + b2)


def test_doubled_result_is_not_its_own_residual():
    def body(emit, x, w):
        y = emit(R.matmul(x, emit(R.permute_dims(w))))
        return R.add(y, y)

    after = dispatched(build([("x", ("n", 12))], [("w", (8, 12))], body))
    assert kernels(after) == ["linear_12x8"]
    x, w = randoms((4, 12), (8, 12))
    close(run(after, x, w), 2 * x @ w.T)


def test_bias_that_is_an_activation_is_left_to_its_own_add():
    def body(emit, x, bias, w):
        return R.add(emit(R.matmul(x, emit(R.permute_dims(w)))), bias)

    after = dispatched(build([("x", ("n", 12)), ("b", (8,))], [("w", (8, 12))], body))
    assert kernels(after) == ["linear_12x8"]
    x, bias, w = randoms((4, 12), (8,), (8, 12))
    close(run(after, x, bias, w), x @ w.T + bias)


def test_parameter_broadcast_to_the_batch_is_an_activation():
    def body(emit, x, queries, w):
        queries = emit(R.broadcast_to(queries, x.ty.shape))
        return R.add(x, emit(R.matmul(queries, emit(R.permute_dims(w)))))

    params = [("queries", (1, 5, 12)), ("w", (12, 12))]
    after = dispatched(build([("x", ("b", 5, 12))], params, body))
    assert kernels(after) == ["linear_12x12_residual"]
    x, queries, w = randoms((3, 5, 12), (1, 5, 12), (12, 12))
    close(run(after, x, queries, w), x + queries @ w.T)


def test_weight_cut_out_of_a_larger_parameter():
    def body(emit, x, w):
        part = emit(R.strided_slice(w, [0], [8], [16]))
        return R.matmul(x, emit(R.permute_dims(part)))

    after = dispatched(build([("x", ("n", 12))], [("w", (24, 12))], body))
    assert kernels(after) == ["linear_12x8"]
    x, w = randoms((4, 12), (24, 12))
    close(run(after, x, w), x @ w[8:16].T)


@pytest.mark.parametrize(
    ("inputs", "params"),
    [
        ([("x", ("n", 12)), ("w", (8, 12))], []),  # both are activations
        ([("x", ("n", 12), "float16")], [("w", (8, 12), "float16")]),
        ([("x", ("n", 12))], [("w", (8, 12)), ("other", (3,))]),
    ],
    ids=["activations", "float16", "unrelated"],
)
def test_what_is_no_linear_layer_stays_as_it_is(inputs, params):
    def body(emit, x, w, *rest):
        return R.multiply(x, x) if rest else R.matmul(x, emit(R.permute_dims(w)))

    before = build(inputs, params, body)
    tvm.ir.assert_structural_equal(dispatched(before), before)
