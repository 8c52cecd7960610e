"""``compile --calibrate``: parameters, exceptions, and what the artifact says of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import tvm
from PIL import Image
from tvm import relax

from sam3_tvm import artifact
from sam3_tvm.abi import abi
from sam3_tvm.arithmetic import BFLOAT16, INT8
from sam3_tvm.compiler import compile, pipeline
from sam3_tvm.compiler.calibrating import BOUND, Calibrating
from sam3_tvm.compiler.graph.arithmetic import excepting
from sam3_tvm.compiler.importing import import_component
from sam3_tvm.compiler.targets.cpu import CpuTarget
from sam3_tvm.errors import UsageError
from sam3_tvm.progress import silent
from sam3_tvm.runtime.pictures.image import ImageError
from sam3_tvm.sources import open_source
from sam3_tvm.sources.sampling import example_sizes, sample_inputs
from sam3_tvm.verify import verify


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with two pictures of noise."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(2):
        noise = np.random.default_rng(i).integers(0, 256, (40, 30, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize(
    ("name", "norm"), [("text_encoder", ".layer_norm2."), ("memory_attention", ".layer_norm3.")]
)
def test_smoothing_leaves_what_a_function_computes(pictures, name, norm):
    source = open_source("random:tiny")
    component = abi(source.sizes)[name]
    mod, params = import_component(source, component, INT8)
    before = {key: tensor.numpy().copy() for key, tensor in params.items()}
    calibrating = Calibrating.of(INT8, pictures, ("dog",), 1.0)
    # Factors that are far from 1 whatever the pictures say: the last channel sticks out.
    for key in params:
        if norm in key:
            with torch.no_grad():
                dict(source.component(name).named_parameters())[key][-1] *= 100
            params[key].numpy()[...] = dict(source.component(name).named_parameters())[key].detach()
    said = calibrating.apply(source, mod, {name: params}, silent)
    assert any(norm in smoothed for smoothed in said.smoothed[name])
    changed = {k for k, tensor in params.items() if not np.array_equal(tensor.numpy(), before[k])}
    assert {k.rpartition(".")[2] for k in changed} == {"weight", "bias"}
    assert not any(k.endswith("bias") and "norm" not in k for k in changed)
    module = source.component(name)
    inputs = sample_inputs(component, example_sizes(component), source.vocabulary_size())
    moved = {key: torch.from_numpy(tensor.numpy()) for key, tensor in params.items()}
    with source.patched(), torch.no_grad():
        want, got = module(*inputs), torch.func.functional_call(module, moved, inputs)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_exceptions_hold_in_both_halves_of_a_function_that_is_split():
    source, name = open_source("random:tiny", ["concepts"]), "detr_encoder"
    mod, _ = import_component(source, abi(source.sizes)[name], INT8)
    options = pipeline.Options(CpuTarget.native())
    mod = pipeline.run_phase(mod, pipeline.CANONICAL, options)

    def w8a8(*excepted):
        func = excepting(mod[name], excepted)
        given = tvm.IRModule({**dict(mod.functions_items()), mod.get_global_var(name): func})
        made = pipeline.run_phase(given, pipeline.DISPATCH, options)
        halves = [g.name_hint for g, f in made.functions_items() if isinstance(f, relax.Function)]
        assert {*halves} == {f"{name}_image", f"{name}_prompt"}
        return sum(made[half].script().count("_w8a8") for half in halves)

    parameters = [f"{var.name}" for var in mod[name].params if var.name.endswith("_weight")]
    every = w8a8()
    some = w8a8(*(one for one in parameters if "_mlp_" in one))
    assert every > some > 0
    assert w8a8(*parameters) == 0


def test_an_artifact_says_what_was_decided_and_keeps_the_bounds_of_int8(pictures, tmp_path):
    report = compile(
        "random:tiny",
        tmp_path / "made",
        compute="int8",
        functions=["text_encoder"],
        calibrate=pictures,
        phrases=["dog", "a red ball"],
        bound=0.004,
        dump=tmp_path / "phases",
    )
    manifest = artifact.open(tmp_path / "made").manifest
    calibration = manifest.calibration
    assert calibration == report.calibration
    assert (calibration.pictures, calibration.prompts, calibration.bound) == (2, 2, 0.004)
    excepted = calibration.excepted["text_encoder"]
    assert excepted
    assert "calibrate" in report.seconds
    dispatched = (tmp_path / "phases" / "2_dispatch.py").read_text()
    assert "linear_" in dispatched
    assert "_bfloat16" in dispatched
    assert "_w8a8" in dispatched
    checked = verify(tmp_path / "made", functions=["text_encoder"])
    assert checked.ok, [row for row in checked.rows if not row.ok]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arithmetic": BFLOAT16}, "calibrating is for compute int8"),
        ({"folder": None, "phrases": ("dog",)}, "are for calibrating"),
        ({"folder": None, "bound": 0.1}, "are for calibrating"),
        ({"bound": 0.0}, "must be above 0, not 0.0"),
        ({"bound": float("nan")}, "must be above 0, not nan"),
        ({"phrases": (" ",)}, "a phrase to calibrate on is empty"),
        ({"folder": "empty"}, "no pictures in this folder"),
        ({"folder": "nowhere"}, "cannot be read as a folder"),
    ],
)
def test_what_makes_no_sense_is_said_before_the_work(pictures, tmp_path, options, message):
    (tmp_path / "empty").mkdir()
    given = {"arithmetic": INT8, "folder": pictures, "phrases": (), "bound": None, **options}
    if isinstance(given["folder"], str):
        given["folder"] = tmp_path / given["folder"]
    with pytest.raises(UsageError, match=message):
        Calibrating.of(**given)


def test_without_a_folder_nothing_is_calibrated_and_pictures_must_be_readable(pictures, tmp_path):
    assert Calibrating.of(INT8, None, (), None) is None
    made = Calibrating.of(INT8, pictures, (), None)
    assert (len(made.pictures), made.bound) == (2, BOUND)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ImageError):
        Calibrating.of(INT8, tmp_path, (), None)
