"""Components as Relax modules. That sizes stay dynamic, test_driver holds for all of them."""

from __future__ import annotations

import tvm

from sam3_tvm.abi import abi
from sam3_tvm.compiler.importing import import_component
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
