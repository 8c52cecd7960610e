"""A product in eight bits, in PyTorch, beside the compiled kernels and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam3_tvm.sensitivity.w8a8 import product_w8a8


def test_it_is_what_the_compiled_kernels_compute():
    pytest.importorskip("tvm")
    from dispatch_testing import TARGET, build, kernels, run
    from tvm import relax

    from sam3_tvm.arithmetic import INT8
    from sam3_tvm.compiler.dispatch.linear import DispatchLinear
    from sam3_tvm.compiler.graph.arithmetic import with_arithmetic

    rng = np.random.default_rng(0)
    x = rng.standard_normal((37, 200), dtype=np.float32)
    x[5] = 0
    x[:, 3] *= 40
    weight = rng.standard_normal((96, 200), dtype=np.float32)

    def body(emit, x, weight):
        return emit(relax.op.matmul(x, emit(relax.op.permute_dims(weight))))

    mod = build([("x", ("m", 200))], [("weight", (96, 200))], body)
    mod["main"] = with_arithmetic(mod["main"], INT8)
    mod = DispatchLinear(TARGET)(mod)
    assert any("w8a8" in name for name in kernels(mod))
    compiled = run(relax.transform.LegalizeOps()(mod), x, weight)
    ours = product_w8a8(torch.from_numpy(x), torch.from_numpy(weight)).numpy()
    np.testing.assert_allclose(ours, compiled, rtol=1e-6, atol=1e-6 * np.abs(compiled).max())
    # Which says something, as it is farther from the product of what was given.
    assert np.abs(ours - x @ weight.T).max() > 1e-3 * np.abs(compiled).max()


def test_rows_and_channels_have_units_of_their_own_and_zeros_stay_zero():
    x = torch.tensor([[127.0, -1.0], [0.0, 0.0], [1270.0, 14.0]])
    weight = torch.tensor([[127.0, 3.0], [0.0, 0.0], [-0.5, 1.27]])
    got = product_w8a8(x, weight)
    # 14 in units of 10 is 1, and -0.5 in units of 0.01 is -50.
    want = torch.tensor([[127, -1], [0, 0], [1270, 10]]).float() @ weight.T
    torch.testing.assert_close(got, want)


def test_smoothing_leaves_the_product_and_takes_an_outlier_from_the_others():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 96, generator=generator)
    x[:, 7] *= 100
    weight = torch.randn(80, 96, generator=generator)
    exact = x.double() @ weight.double().T
    smoothing = x.abs().amax(0).sqrt() / weight.abs().amax(0).sqrt()

    def error(got):
        return float((got - exact).norm() / exact.norm())

    torch.testing.assert_close((x / smoothing) @ (weight * smoothing).T, x @ weight.T)
    assert error(product_w8a8(x, weight, smoothing)) < 0.7 * error(product_w8a8(x, weight))
