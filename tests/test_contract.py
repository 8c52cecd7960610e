"""The contract is all that a new function takes, beside its source: here one is added, and what
compiles, runs, verifies and measures functions learns of it by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam3_tvm import abi as contract
from sam3_tvm import artifact
from sam3_tvm.bench import prepare
from sam3_tvm.bench.parts import compare, load_arrays, run_part, select_parts
from sam3_tvm.bench.profile import profile
from sam3_tvm.compiler import compile
from sam3_tvm.components import Component, Dim, TensorSpec
from sam3_tvm.runtime.execution.module import load_functions
from sam3_tvm.sources.huggingface.source import TransformersSource
from sam3_tvm.values import Choice, Uniform
from sam3_tvm.verify import verify

# What is added to abi.py: a function of the second task, with a dimension of its own.
REGIONS = Dim("regions", 0, 9, example=4, odd=5, usual=2)


def region_components(sizes):
    batch, side = contract.BATCH, sizes.grid
    features = TensorSpec("fpn_2", "float32", (batch, sizes.hidden, side, side), per_image=True)
    weight = TensorSpec("weight", "float32", (batch, REGIONS, side, side), values=Uniform())
    kind = TensorSpec("kind", "int64", (batch, REGIONS), values=Choice((0, 1)))
    pooled = TensorSpec("pooled", "float32", (batch, REGIONS, sizes.hidden))
    yield Component("region_features", (features, weight, kind), (pooled,))


# What is added to its source.
class RegionFeatures(torch.nn.Module):
    def forward(self, fpn_2, weight, kind):
        pooled = torch.einsum("bchw,bnhw->bnc", torch.relu(fpn_2 @ fpn_2.mT), weight)
        return pooled * kind[..., None]


@pytest.fixture
def extended(monkeypatch):
    added = contract._for_task("clicks", region_components)
    monkeypatch.setattr(contract, "_TASK_FUNCTIONS", [*contract._TASK_FUNCTIONS, added])
    known = TransformersSource.component

    def component(source, name):
        return RegionFeatures() if name == "region_features" else known(source, name)

    monkeypatch.setattr(TransformersSource, "component", component)


def test_a_function_that_is_added_is_compiled_verified_and_measured(extended, tmp_path):
    made = compile("random:tiny", tmp_path / "made", functions=["region_features"]).path
    opened = artifact.open(made)
    component = opened.manifest.components["region_features"]
    assert component.task == "clicks"
    # It was split where the picture's half ends, since the contract says what comes from there.
    assert opened.manifest.stages["region_features"].image_inputs == ("fpn_2",)

    report = verify(made, functions=["region_features"])
    assert report.ok
    cases = [dict(pair.split("=") for pair in row.case.split()) for row in report.functions]
    assert [c["regions"] for c in cases] == ["0", "1", "5", "9"]

    names, work = ["region_features"], tmp_path / "work"
    work.mkdir()
    counted = prepare.reference("random:tiny", ("concepts", "clicks"), None, names, 1, 0, str(work))
    assert counted["flops"]["region_features"] > 0
    (part,) = select_parts(names, opened.manifest.components)
    inputs = load_arrays(work / "inputs" / part.name)
    assert inputs["weight"].shape[:2] == (1, REGIONS.usual)
    table = load_functions(opened, 1)
    got = run_part(part, opened.manifest.components, inputs, lambda n, i: table(n, *i))
    wanted = load_arrays(work / "outputs" / "reference" / part.name)
    assert compare(part, opened.manifest.components, got, wanted, None).largest < 1e-5
    halves = profile(made, names, threads=1)
    assert [half.function for half in halves] == ["region_features_image", "region_features_prompt"]


def test_functions_have_tasks_and_each_task_is_behind_those_that_it_takes():
    tasks = [contract.task_of(name) for name in contract.function_names()]
    assert tasks == sorted(tasks, key=contract.TASKS.index)
    assert {*tasks} == {*contract.TASKS}


def test_examples_of_a_functions_sizes_are_within_bounds_and_traced_apart():
    for component in contract.abi(contract._FOR_ALL_TASKS).values():
        dims = component.dims.values()
        assert all(d.min <= d.usual <= d.max for d in dims if d.name not in ("queries", "prompt"))
        examples = [d.example for d in dims]
        assert len({*examples}) == len(examples)
        assert not {0, 1} & {*examples}


def test_dimensions_and_inputs_are_equal_by_what_a_manifest_says():
    assert Dim("n", 1, 9, example=4) == Dim("n", 1, 9, odd=7)
    assert Dim("n", 1, 9) != Dim("n", 1, 8)
    x = TensorSpec("x", "float32", (3,), values=Uniform())
    assert x == TensorSpec("x", "float32", (3,))
    assert x != TensorSpec("x", "float32", (3,), per_image=True)
    assert np.dtype(x.dtype) == np.float32
