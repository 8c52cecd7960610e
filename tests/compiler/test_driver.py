import json
import re
import shutil
import sys

import pytest

from sam3_tvm import artifact, linking
from sam3_tvm.abi import abi
from sam3_tvm.artifact import ArtifactError
from sam3_tvm.binary import Binary, read_binary
from sam3_tvm.compiler import CompileError, compile, driver
from sam3_tvm.compiler.targets import tuning
from sam3_tvm.compiler.targets.cpu import CpuTarget, TargetError
from sam3_tvm.compiler.targets.tiles import Tiles
from sam3_tvm.errors import Sam3Error
from sam3_tvm.host import cpu_model
from sam3_tvm.linking import Linker
from sam3_tvm.runtime.loading import load
from sam3_tvm.sources import SourceError, open_source
from sam3_tvm.verify import verify


@pytest.fixture(scope="module")
def opened(tiny_artifact):
    return artifact.open(tiny_artifact, integrity="full")


def test_an_artifact_says_what_it_is(opened):
    manifest = opened.manifest
    assert manifest.source.checkpoint == "random:tiny"
    assert manifest.components == abi(manifest.sizes)
    assert manifest.sizes.tasks == ("concepts", "clicks", "video")
    assert manifest.video == open_source("random:tiny").video
    assert manifest.target.level == CpuTarget.native().level
    assert set(manifest.versions) == {"apache-tvm", "apache-tvm-ffi", "torch", "transformers"}


def test_the_library_holds_code_and_no_weights(opened):
    """Parameters and large constants are inputs: model.so grows with the code alone."""
    sizes = {name: stored.bytes for name, stored in opened.manifest.files.items()}
    parameters = sum(p.numel() for p in open_source("random:tiny").model.parameters())
    assert sizes["weights.bin"] > 4 * 0.95 * parameters
    assert sizes["model.so"] < 6_000_000


def test_every_weight_is_aligned_and_belongs_to_a_function(opened):
    index = json.loads((opened.path / "weights.json").read_text())
    assert all(entry["offset"] % 64 == 0 for entry in index["tensors"].values())
    used = {key for keys in index["functions"].values() for key in keys}
    assert used == set(index["tensors"])


def test_equal_tensors_are_stored_once(opened):
    """Position encodings and rotary tables above all, which several functions and layers share."""
    index = json.loads((opened.path / "weights.json").read_text())["tensors"]
    assert any(".constant_" in key for key in index)
    weights = opened.weights()
    places = {}
    for key, entry in index.items():
        places.setdefault(weights[key].tobytes(), set()).add(entry["offset"])
    assert all(len(offsets) == 1 for offsets in places.values())
    assert len(places) < len(index)


@pytest.fixture(scope="module")
def dumped(tiny):
    """The folder with the modules that the phases left."""
    return tiny / "phases"


def test_every_phase_can_be_dumped(dumped, opened):
    names = {p.name for p in dumped.iterdir()}
    shared = {n for n in names if "_transform_params" not in n}
    assert shared == {
        "0_import.py",
        "1_canonical.py",
        "2_dispatch.py",
        "3_weights.py",
        "4_legalize.py",
        "5_schedule.py",
        "6_lower.py",
    }
    last = (dumped / "3_weights.py").read_text()
    stages = opened.manifest.stages
    assert set(stages) >= {"geometry_encoder", "detr_encoder", "memory_attention", "memory_encoder"}
    for name in abi(open_source("random:tiny").sizes):
        names = (stages[name].image, stages[name].prompt) if name in stages else (name,)
        assert all(f"def {n}(" in last for n in names)


def test_every_dynamic_dimension_of_the_abi_stays_dynamic(dumped, opened):
    """None is fixed or bound to another by what torch saw when it exported the module."""
    found = {}
    for name, inputs in re.findall(
        r"\n    def (\w+)\((.*?)\) -> R", (dumped / "0_import.py").read_text()
    ):
        shapes = re.findall(r"R\.(?:Tensor\(\(|Shape\(\[)([^\])]*)", inputs)
        found[name] = {size.strip() for shape in shapes for size in shape.split(",")}
    for name, component in opened.manifest.components.items():
        free = {size for size in found[name] if re.fullmatch(r"[a-z]\w*", size)}
        assert len(free) == len(component.dims), f"{name}: {component.dims}, imported {free}"
        assert all(re.fullmatch(r"\w*", size) for size in found[name]), found[name]


def test_no_operator_reads_nothing_but_weights(dumped):
    """What depends on weights alone, a transposition above all, has run at compile time."""
    text = (dumped / "3_weights.py").read_text()
    functions = re.split(r"\n    @", text)
    checked = 0
    for function in functions:
        if "R.function" not in function:
            continue
        weights = set(re.findall(r"(\w+): R\.Tensor\([^\n]*\) = params\w*\[\d+\]", function))
        checked += len(weights)
        for name, arguments in re.findall(
            r"= R\.(permute_dims|reshape|layout_transform|astype|pad)\((\w+)", function
        ):
            assert arguments not in weights, f"R.{name}({arguments}) runs on every call"
    assert checked > 100


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"checkpoint": "random:big"}, SourceError, "random:tiny"),
        ({"target": "z80"}, TargetError, "x86-64-v3"),
        ({"layer_norm": "slow"}, CompileError, "fused or decomposed"),
        ({"tasks": ["dreams"]}, SourceError, "concepts, clicks"),
        (
            {"tasks": ["concepts"], "functions": ["click_decoder"]},
            CompileError,
            "click_decoder is for clicks",
        ),
        (
            {"tasks": ["concepts", "clicks"], "functions": ["memory_encoder"]},
            CompileError,
            "memory_encoder is for video",
        ),
        ({"tasks": ["concepts", "video"]}, SourceError, "concepts,clicks,video"),
        ({"weights": "int4"}, CompileError, "float32, float16, int8"),
        ({"weights": "float16", "target": "x86-64-v2"}, CompileError, "float32 or int8"),
        (
            {"compute": "float16"},
            CompileError,
            "compute is float32 or bfloat16 or int8, not 'float16'",
        ),
        (
            {"compute": "bfloat16", "weights": "int8"},
            CompileError,
            "weights is bfloat16 where compute is bfloat16, not 'int8'",
        ),
    ],
)
def test_a_wrong_option_leaves_nothing_behind(tmp_path, options, error, says):
    arguments = {"checkpoint": "random:tiny", **options}
    with pytest.raises(error, match=says) as caught:
        compile(output=tmp_path / "out", **arguments)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_artifact_is_not_overwritten(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtifactError, match="not an artifact"):
        compile("random:tiny", tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_some_functions_can_be_compiled_alone_with_tiles_of_a_file(tmp_path):
    path = tmp_path / "tuned.json"
    tiles = Tiles(gemm_rows=48, gemm_depth=64, strip_steps=96)
    tuning.write(path, tuning.Entry(cpu_model(), CpuTarget.native().level, tiles))
    report = compile("random:tiny", tmp_path / "out", functions=["scoring"], tuned=path)
    opened = artifact.open(report.path)
    assert list(opened.manifest.components) == ["scoring"]
    assert opened.manifest.target.tiles == "tuned, tuned.json"
    rows = verify(report.path, functions=["scoring"])
    assert rows.ok
    with pytest.raises(ArtifactError, match="was compiled without vision_encoder, text_encoder"):
        load(report.path)
    with pytest.raises(CompileError, match="no function is named 'score'"):
        compile("random:tiny", tmp_path / "other", functions=["score"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cxx": "no-such-compiler -O2"}, "--cxx names 'no-such-compiler'"),
        ({"cxx": "false"}, r"false \(--cxx\): ended with 1"),
        ({"runtime": "gone.so"}, r"gone\.so: cannot be read \(No such file"),
        ({"target": "aarch64", "runtime": __file__}, "is no library of native code"),
    ],
)
def test_what_links_and_runs_is_looked_at_before_the_work(tmp_path, monkeypatch, options, says):
    monkeypatch.setattr(driver, "import_component", lambda *_: pytest.fail("the work began"))
    if "target" in options:
        monkeypatch.setattr(Linker, "check", lambda self: None)
        monkeypatch.setattr(linking, "_cross_compilers", lambda target: [(sys.executable,)])
    with pytest.raises(Sam3Error, match=says) as caught:
        compile("random:tiny", tmp_path / "out", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("aarch64-linux-gnu-gcc"), reason="no cross compiler")
@pytest.mark.skipif(Binary.here().machine == "aarch64", reason="this is no other machine")
def test_an_artifact_for_another_processor_is_all_of_that_one(tmp_path, monkeypatch):
    """Weights are packed here all the same, even where CXX is the other machine's compiler."""
    monkeypatch.setenv("CXX", "aarch64-linux-gnu-gcc -O1")
    library = tmp_path / "arm.so"
    library.write_bytes(b"\x7fELF\2\1\1" + bytes(11) + b"\xb7\0" + bytes(44))
    report = compile(
        "random:tiny",
        tmp_path / "arm",
        target="aarch64",
        functions=["scoring"],
        runtime=library,
    )
    assert report.target == Binary("Linux", "aarch64") == read_binary(report.path / "model.so")
    assert (report.path / "libtvm_runtime.so").read_bytes() == library.read_bytes()
    opened = artifact.open(report.path, integrity="full")
    assert opened.weights().function("scoring")
    with pytest.raises(ArtifactError, match="built for aarch64 processors, and this one is"):
        opened.check_host()
