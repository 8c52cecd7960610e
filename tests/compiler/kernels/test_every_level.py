"""Every kernel becomes code for every level, also for those that this machine can't run."""

from __future__ import annotations

import pytest
import tvm
from kernel_testing import LEVELS

from sam3_tvm.arithmetic import BFLOAT16, FLOAT32, INT8, SCHEMES, storing
from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.kernels.attention.attention import AttentionSpec, attention_kernel
from sam3_tvm.compiler.kernels.attention.operands import Layout, Windows
from sam3_tvm.compiler.kernels.conv.depthwise import depthwise_kernel
from sam3_tvm.compiler.kernels.conv.direct import conv_kernel, conv_transpose_kernel
from sam3_tvm.compiler.kernels.conv.shape import ConvShape
from sam3_tvm.compiler.kernels.conv.upsampled import conv_upsampled_kernel
from sam3_tvm.compiler.kernels.conv.winograd import conv_winograd_kernel
from sam3_tvm.compiler.kernels.norm import group_norm_kernel, layer_norm_kernel
from sam3_tvm.compiler.kernels.product.dot import dot_for
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue
from sam3_tvm.compiler.kernels.product.linear import linear_kernel
from sam3_tvm.compiler.kernels.product.matmul import MatmulSpec, matmul_kernel
from sam3_tvm.compiler.kernels.product.quantise import quantise_kernel
from sam3_tvm.compiler.kernels.product.stored_weights import widens
from sam3_tvm.compiler.kernels.rotary import rotary_kernel
from sam3_tvm.compiler.kernels.rows import rows_kernel
from sam3_tvm.compiler.targets.cpu import CpuTarget

pytestmark = pytest.mark.slow

AFTER, BEFORE = Epilogue(True, "gelu", "after"), Epilogue(True, "relu", "before")
SHAPE = ConvShape(40, 17, 19, 23, (3, 3), padding=(1, 1, 1, 1))
WINDOWS = Windows(3, 3, 24, 24)

# Of a target and the arithmetic of weights.
WITH_WEIGHTS = {
    "linear": lambda t, a: linear_kernel(t, 100, 30, AFTER, a),
    "strassen": lambda t, a: linear_kernel(t, 576, 544, AFTER, a),
    "conv": lambda t, a: conv_kernel(t, SHAPE, BEFORE, a),
    "conv_transpose": lambda t, a: conv_transpose_kernel(t, 9, 5, 7, 37, Epilogue(True), a),
    "conv_upsampled": lambda t, a: conv_upsampled_kernel(t, 33, 11, 6, 50, BEFORE, a),
    "conv_winograd": lambda t, a: conv_winograd_kernel(t, SHAPE, BEFORE, a),
}
WITHOUT = {
    "matmul": lambda t: matmul_kernel(t, MatmulSpec(None, 32)),
    "matmul_transposed": lambda t: matmul_kernel(t, MatmulSpec(64, None, True, bias=True)),
    "attention": lambda t: attention_kernel(
        t, AttentionSpec(2, 32, 32, 1.0, bias=(True, True, True, True), causal="TopLeft")
    ),
    "attention_in_windows": lambda t: attention_kernel(
        t,
        AttentionSpec(
            4,
            64,
            64,
            0.125,
            *(Layout(slots=3, slot=i, windows=WINDOWS) for i in range(3)),
            Layout(windows=WINDOWS),
            rotary=True,
        ),
    ),
    "depthwise": lambda t: depthwise_kernel(
        t, ConvShape(40, 40, 19, 23, (7, 7), padding=(3, 3, 3, 3)), True
    ),
    "layer_norm": lambda t: layer_norm_kernel(t, 100, 1e-5),
    "layer_norm_in_bytes": lambda t: layer_norm_kernel(t, 100, 1e-5, dot_for(t, INT8)),
    "layer_norm_in_pairs": lambda t: layer_norm_kernel(t, 100, 1e-5, dot_for(t, BFLOAT16)),
    "quantise": lambda t: quantise_kernel(t, 100, dot_for(t, INT8).integers, rounded=True),
    "upsampled_in_pairs": lambda t: conv_upsampled_kernel(t, 34, 11, 6, 50, BEFORE, BFLOAT16),
    "rotary": lambda t: rotary_kernel(t, 7, 34),
    "rows": lambda t: rows_kernel(t, 300, 37, "bfloat16", "int64"),
    "group_norm": lambda t: group_norm_kernel(t, 12, 4, 35, 1e-5, True),
}


@pytest.mark.parametrize("level", LEVELS)
def test_every_kernel_compiles(level):
    target = CpuTarget.parse(level)
    functions = {name: make(target) for name, make in WITHOUT.items()}
    functions |= {name: make(target, FLOAT32) for name, make in WITH_WEIGHTS.items()}
    for scheme in SCHEMES.values():
        if widens(target, scheme.weights):
            functions[f"linear_{scheme.name}".replace("-", "_")] = WITH_WEIGHTS["linear"](
                target, scheme
            )
    functions["conv_int8"] = WITH_WEIGHTS["conv"](target, storing("int8"))
    functions["conv_winograd_int8"] = WITH_WEIGHTS["conv_winograd"](target, storing("int8"))
    mod = tvm.IRModule({k: f.with_attr("global_symbol", k) for k, f in functions.items()})
    code = generate(mod, target).mod.inspect_source("asm")
    assert all(f"{name}:" in code for name in functions)


TILES = "x86-64-v4+amxbf16+amxint8+avx512bf16+avx512vnni"
BY_TILES = {
    "linear": lambda t: linear_kernel(t, 100, 128, AFTER, BFLOAT16),
    "linear_of_bytes": lambda t: linear_kernel(t, 100, 128, AFTER, INT8),
    "attention": lambda t: attention_kernel(
        t,
        AttentionSpec(2, 32, 48, 1.0, bias=(True, True, True, True), causal="TopLeft"),
        dot_for(t, BFLOAT16),
    ),
    "conv": lambda t: conv_kernel(t, ConvShape(64, 17, 9, 23, (1, 1)), BEFORE, BFLOAT16),
}


@pytest.mark.parametrize("name", BY_TILES)
def test_kernels_of_whole_tiles_compile_for_a_matrix_unit(name):
    target = CpuTarget.parse(TILES)
    func = BY_TILES[name](target).with_attr("global_symbol", name)
    code = generate(tvm.IRModule({name: func}), target).mod.inspect_source("asm")
    assert ("tdpbusd" if name == "linear_of_bytes" else "tdpbf16ps") in code
    assert "ldtilecfg" in code
    assert "tilerelease" in code
