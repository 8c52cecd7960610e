"""Components as Relax modules. That sizes stay dynamic, test_driver holds for all of them."""

from __future__ import annotations

import pytest
import tvm
from dispatch_testing import kernels

from sam3_tvm.abi import abi
from sam3_tvm.arithmetic import BFLOAT16
from sam3_tvm.compiler import pipeline
from sam3_tvm.compiler.importing import import_component
from sam3_tvm.compiler.targets.cpu import CpuTarget
from sam3_tvm.sources import open_source


def test_importing_a_component_again_gives_an_equal_function_with_every_parameter_used():
    source = open_source("random:tiny")
    for name in ("text_encoder", "scoring"):
        component = abi(source.sizes)[name]
        first, params = import_component(source, component)
        again, _ = import_component(source, component)
        tvm.ir.assert_structural_equal(first, again)
        used = len(first[name].params) - int(first[name].attrs["num_input"])
        assert used == len(params)


@pytest.mark.parametrize(
    ("name", "half", "wanted"),
    [("memory_attention", "_prompt", "rotary_"), ("vision_encoder", "", "_rounded")],
)
def test_what_the_model_is_made_of_gets_its_kernels(name, half, wanted):
    source = open_source("random:tiny")
    mod, _ = import_component(source, abi(source.sizes)[name], BFLOAT16)
    options = pipeline.Options(CpuTarget.parse("x86-64-v4+avx512bf16"))
    for phase in (pipeline.CANONICAL, pipeline.DISPATCH):
        mod = pipeline.run_phase(mod, phase, options)
    mod["main"] = mod[f"{name}{half}"]
    found = kernels(mod)
    if wanted == "_rounded":
        found = [kernel for kernel in found if kernel.startswith("layer_norm")]
        assert sum(kernel.endswith(wanted) for kernel in found) >= len(found) - 1 > 1
    else:
        assert any(kernel.startswith(wanted) for kernel in found)
