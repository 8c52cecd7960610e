import numpy as np
import pytest
import tvm
from tvm import relax

from sam3_tvm.compiler.pipeline import Options, build
from sam3_tvm.compiler.targets.cpu import CpuTarget


@pytest.mark.parametrize("op", ["sum", "max", "prod"])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_reduction_over_no_elements_is_its_identity(op, axis):
    """Stock TVM writes the first value in the first iteration, and there is none."""
    n = tvm.tirx.Var("n", "int64")
    shape = (n, 6) if axis == 0 else (6, n)
    x = relax.Var("x", relax.TensorType(shape, "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        builder.emit_func_output(builder.emit(getattr(relax.op, op)(x, axis)))
    executable = build(builder.get(), Options(CpuTarget.native()))
    machine = relax.VirtualMachine(executable, tvm.cpu())
    identity = {"sum": 0.0, "prod": 1.0, "max": np.finfo("float32").min}[op]
    for extent in (0, 1, 5):
        data = np.random.default_rng(0).standard_normal((6, extent)).astype("float32")
        data = data.T.copy() if axis == 0 else data
        # Memory that a missing initialisation would show.
        for _ in range(3):
            got = machine["main"](tvm.runtime.tensor(data)).numpy()
            want = getattr(np, op)(data, axis=axis) if extent else np.full(6, identity, "float32")
            np.testing.assert_allclose(got, want, rtol=1e-6)
