"""Artifacts with bfloat16, float16 and int8 weights: their size, what they say, and that verify
passes."""

from __future__ import annotations

import json
import re

import pytest

from sam3_tvm import artifact
from sam3_tvm.arithmetic import FLOAT32, scheme
from sam3_tvm.compiler.kernels.product.stored_weights import STORED
from sam3_tvm.verify import Bounds, verify

pytestmark = pytest.mark.slow  # an artifact is compiled for each precision

SCHEMES = {
    "float16": ("float32", "float16"),
    "int8": ("float32", "int8"),
    "bfloat16": ("bfloat16",),
}

# Functions that compute by another scheme than the rest.
OTHERS = {"bfloat16": {"click_decoder": "bfloat16-features"}}

# The coarser rounding is held to its bounds in all that an artifact can do; for the other a task
# is enough, as the kernels of all have their weights from the same place.
TASKS = {
    "float16": "concepts",
    "int8": "concepts,clicks,video",
    "bfloat16": "concepts,clicks,video",
}


@pytest.fixture(scope="module", params=SCHEMES)
def narrow(request, compiled_once):
    """A precision, and the folder with what was compiled."""
    precision = request.param
    compute, *weights = SCHEMES[precision]
    stored = [option for dtype in weights for option in ("--weights", dtype)]
    options = ("--compute", compute, *stored, "--tasks", TASKS[precision], "--dump", "phases")
    return precision, compiled_once(precision, "random:tiny", *options)


def stored_bytes(folder, functions):
    """What the weights of functions take in a file, where equal tensors are stored once."""
    index = json.loads((folder / "weights.json").read_text())
    tensors = [index["tensors"][key] for name in functions for key in index["functions"][name]]
    return sum({tensor["offset"]: tensor["bytes"] for tensor in tensors}.values())


def test_every_bound_of_the_precision_is_kept(narrow):
    precision, folder = narrow
    report = verify(folder / precision)
    broken = [row for row in report.rows if not row.ok]
    assert broken == []
    assert report.bounds == Bounds.of(scheme(*SCHEMES[precision]))
    assert any(row.box_error_px for row in report.end_to_end), "nothing was kept, so compared"
    # Rounded weights show: a bound of float32 would not hold, and none is kept by accident.
    assert any(row.relative > Bounds().function for row in report.functions)


def test_the_weights_shrink_and_the_manifest_says_why(narrow, tiny_artifact):
    precision, folder = narrow
    opened, wide = artifact.open(folder / precision), artifact.open(tiny_artifact)
    of_all = dict.fromkeys(opened.manifest.components, scheme(*SCHEMES[precision]).name)
    assert opened.manifest.arithmetic == of_all | OTHERS.get(precision, {})
    assert wide.manifest.schemes == [FLOAT32]
    index = json.loads((folder / precision / "weights.json").read_text())
    stored = STORED[precision]
    assert {stored, "float32"} <= {entry["dtype"] for entry in index["tensors"].values()}
    functions = [name for name in index["functions"] if name not in OTHERS.get(precision, {})]
    share = stored_bytes(folder / precision, functions) / stored_bytes(tiny_artifact, functions)
    # Tables, biases and scales stay in float32, and weigh more in a model this small.
    assert share < {"float16": 0.55, "int8": 0.35, "bfloat16": 0.55}[precision]


def test_weights_reach_the_kernels_as_they_are_stored(narrow):
    """No operator widens a weight, or scales it, before its kernel does."""
    precision, folder = narrow
    functions = (folder / "phases" / "3_weights.py").read_text().split("    def ")
    found = 0
    for lines in (function.splitlines() for function in functions):
        stored = [line for line in lines if f'"{STORED[precision]}") = params' in line]
        found += len(stored)
        for name in (line.split(":")[0].strip() for line in stored):
            uses = [
                li for li in lines if re.search(rf"\b{name}\b(?!:)", li) and "= params" not in li
            ]
            assert uses, f"{name} is stored and not used"
            assert all("R.call_tir(" in line for line in uses), uses
    assert found > 50
