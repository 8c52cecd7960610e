"""The way into compiled code: the toy as TVM compiled it against the toy in NumPy."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import threading
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import toy
from toy import HERE, run_python

from sam3_tvm.artifact import ArtifactError
from sam3_tvm.components import AbiError
from sam3_tvm.errors import Sam3Error
from sam3_tvm.runtime.execution import module
from sam3_tvm.runtime.execution.engine import Engine
from sam3_tvm.runtime.execution.functions import aligned
from sam3_tvm.runtime.execution.module import Machine, load_functions
from sam3_tvm.runtime.execution.ranks import giving_way

SRC = HERE.parents[1] / "src"

# What the runtime needs, apart from the command line.
RUNTIME_DISTRIBUTIONS = (
    "numpy",
    "pillow",
    "tokenizers",
    "safetensors",
    "apache-tvm-ffi",
    "pycocotools",
    "typing-extensions",
)


def inputs_of(name: str, dims: dict[str, int], seed: int = 0) -> list:
    rng = np.random.default_rng(seed)
    made = []
    for spec in toy.COMPONENTS[name].inputs:
        shape = tuple(d if isinstance(d, int) else dims[d.name] for d in spec.shape)
        if spec.dtype == "shape":
            made.append(shape)
        elif spec.dtype == "float32":
            made.append(rng.standard_normal(shape).astype(np.float32))
        else:
            made.append(rng.integers(0, 2, shape).astype(spec.dtype))
        if spec.name == "prompt_mask":
            made[-1][:, 0] = True
    return made


@pytest.fixture(scope="module")
def table(compiled):
    return load_functions(compiled, threads=2)


@pytest.mark.parametrize("name", toy.COMPONENTS)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("boxes", [0, 2])
def test_compiled_functions_give_what_numpy_gives(table, name, batch, boxes):
    dims = {"batch": batch, "boxes": boxes, "prompt": 6 + boxes, "queries": 1 + boxes}
    dims |= {"masks": batch, "height": 5 + boxes, "width": 9}
    inputs = inputs_of(name, dims)
    got = table(name, *inputs)
    want = toy.ToyFunctions()(name, inputs)
    assert len(got) == len(want)
    for spec, g, w in zip(toy.COMPONENTS[name].outputs, got, want, strict=True):
        assert (g.dtype, g.shape) == (np.dtype(spec.dtype), w.shape)
        np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-5)


def test_any_memory_layout_is_taken(table):
    (pixels,) = inputs_of("vision_encoder", {"batch": 2})
    expected = table("vision_encoder", pixels)[0].copy()
    raw = np.zeros(pixels.nbytes + 64, np.uint8)
    odd = np.ndarray(pixels.shape, np.float32, raw, 4 - raw.ctypes.data % 4)
    odd[:] = pixels
    turned = np.ascontiguousarray(pixels.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0)
    fixed = pixels.copy()
    fixed.flags.writeable = False
    for variant in (odd, turned, fixed):
        np.testing.assert_array_equal(table("vision_encoder", variant)[0], expected)


def test_outputs_outlive_later_calls(table):
    inputs = [inputs_of("vision_encoder", {"batch": 1}, seed) for seed in range(3)]
    first = [table("vision_encoder", *i)[0] for i in inputs]
    for held, i in zip(first, inputs, strict=True):
        np.testing.assert_array_equal(held, table("vision_encoder", *i)[0])


def test_functions_are_called_in_the_midst_of_one_that_gives_way(compiled):
    dims = {"batch": 3, "boxes": 2, "prompt": 8, "queries": 3, "masks": 3, "height": 7, "width": 9}
    passes: list[int] = []
    inside: list[list[np.ndarray]] = []

    def let_pass(rank: int) -> None:
        passes.append(rank)
        if rank == 2:  # which gives way itself
            inside.append(machine(name, inputs_of(name, dims, 1), 1))

    machine = Machine(compiled, let_pass)
    for name in (n for n in toy.COMPONENTS if n not in compiled.manifest.stages):
        wanted = [machine(name, inputs_of(name, dims, seed)) for seed in range(2)]
        assert passes == []
        got = machine(name, inputs_of(name, dims, 0), 2)
        assert set(passes) == {1, 2}
        for result, want in [(got, wanted[0]), *((one, wanted[1]) for one in inside)]:
            for ours, theirs in zip(result, want, strict=True):
                np.testing.assert_array_equal(ours, theirs)
        passes.clear()
        inside.clear()


@pytest.mark.parametrize("rank", [0, 2])
def test_only_a_call_that_gives_way_lets_another_thread_s_pass(compiled, monkeypatch, rank):
    begun, answered, order = threading.Event(), threading.Event(), []
    let_pass = Engine.let_pass

    def waiting(engine: Engine, own: int) -> None:
        """Between two kernels: once, until the other thread's call is there and was let pass."""
        if not begun.is_set():
            begun.set()
            end = time.monotonic() + 20
            while not answered.is_set() and time.monotonic() < end:
                let_pass(engine, own)

    monkeypatch.setattr(Engine, "let_pass", waiting)
    table = load_functions(compiled, threads=1)
    (pixels,) = inputs_of("vision_encoder", {"batch": 2})
    wanted = table("vision_encoder", pixels)[0].copy()

    def encode() -> None:
        with giving_way(rank):
            np.testing.assert_array_equal(table("vision_encoder", pixels)[0], wanted)
        order.append("encoded")

    encoding = threading.Thread(target=encode)
    encoding.start()
    if rank:
        assert begun.wait(20)
        np.testing.assert_array_equal(table("vision_encoder", pixels)[0], wanted)
        order.append("passed")
        answered.set()
    encoding.join()
    assert order == (["passed", "encoded"] if rank else ["encoded"])
    assert begun.is_set() == bool(rank)


@pytest.mark.parametrize("rank", [-1, 4, True, 1.0, "1"])
def test_a_rank_is_one_of_four(rank):
    with (
        pytest.raises(Sam3Error, match=r"a rank is an integer from 0 to 3, not "),
        giving_way(rank),
    ):
        pass


def test_aligned_copies_only_what_it_must():
    raw = np.zeros(1024, np.uint8)
    start = -raw.ctypes.data % 64
    straight = raw[start : start + 256].view(np.float32)
    assert aligned(straight) is straight
    shifted = aligned(raw[start + 4 : start + 260].view(np.float32))
    assert shifted.ctypes.data % 64 == 0
    assert aligned(straight.reshape(8, 8).T).flags.c_contiguous


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("scoring", lambda i: i[:2], "takes 3 inputs"),
        ("scoring", lambda i: [i[0].astype("float64"), *i[1:]], "must be float32, got float64"),
        ("scoring", lambda i: [i[0][:, :2], *i[1:]], "axis 1 must be 3, got 2"),
        ("scoring", lambda i: [i[0], i[1], i[2][:, 1:]], "prompt is 6 in an earlier input"),
        ("resize_masks", lambda i: [i[0], (0, 5)], "height is 0|axis 0 is 0"),
        ("resize_masks", lambda i: [i[0], (5, 40000)], "outside width in 1..32768"),
    ],
)
def test_calls_that_break_the_abi_never_reach_the_code(table, name, change, says):
    dims = {"batch": 1, "prompt": 6, "masks": 1, "height": 5, "width": 5}
    with pytest.raises(AbiError, match=says):
        table(name, *change(inputs_of(name, dims)))


def test_damaged_code_is_one_line(compiled, tmp_path):
    broken = tmp_path / "toy"
    shutil.copytree(compiled.path, broken)
    (broken / "model.so").write_bytes(b"\x7fELF" + bytes(100))
    with pytest.raises(ArtifactError, match=r"model\.so: cannot be loaded") as caught:
        load_functions(dataclasses.replace(compiled, path=broken))
    assert "\n" not in str(caught.value)


def test_code_without_a_promised_function_is_refused(compiled):
    extra = {**compiled.manifest.components, "unheard_of": toy.COMPONENTS["scoring"]}
    manifest = dataclasses.replace(compiled.manifest, components=extra)
    with pytest.raises(ArtifactError, match="unheard_of"):
        load_functions(dataclasses.replace(compiled, manifest=manifest))


def test_another_tvm_in_the_process_is_refused(compiled, table):
    versions = {**compiled.manifest.versions, "apache-tvm": "0.1"}
    manifest = dataclasses.replace(compiled.manifest, versions=versions)
    with pytest.raises(ArtifactError, match=r"built with TVM 0\.1, and this process has loaded"):
        load_functions(dataclasses.replace(compiled, manifest=manifest))


SEGMENT = """
import sys
sys.path[:0] = {paths!r}
{before}
import numpy as np, sam3_tvm
model = sam3_tvm.load({artifact!r}, threads=2)
picture = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
def segment():
    found = model.segment(picture, text="dog", boxes=[[5, 5, 30, 30]], threshold=0)
    return len(found), found.masks.shape, float(found.scores[0]).hex(), found.to_coco()[0]["area"]
print(segment())
{after}
print([m for m in ("torch", "tvm", "transformers") if sys.modules.get(m)])
"""


def segment_elsewhere(opened, *, paths=(str(SRC),), before="", after="", flags=()) -> list[str]:
    code = SEGMENT.format(paths=list(paths), before=before, after=after, artifact=str(opened.path))
    return run_python(*flags, "-c", code).splitlines()


def test_it_runs_where_only_the_runtime_is_installed(compiled, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    for name in RUNTIME_DISTRIBUTIONS:
        files = metadata.distribution(name).files
        for top in {f.parts[0] for f in files if f.parts[0] not in ("..", "__pycache__")}:
            (site / top).symlink_to(metadata.distribution(name).locate_file(top))
    (site / "sam3_tvm-0.dist-info").mkdir()
    # Without site-packages (-S, -I) there is nothing but the links and the standard library.
    check = "import importlib.util as u; assert u.find_spec('tvm') is u.find_spec('torch') is None"
    lines = segment_elsewhere(
        compiled, paths=(str(site), str(SRC)), before=check, flags=("-I", "-S")
    )
    assert lines[0].startswith("(3, (3, 40, 60)")
    assert lines[-1] == "[]"
    # The installed runtime, with TVM's own library, gives the same bits.
    assert segment_elsewhere(compiled)[0] == lines[0]


@pytest.mark.slow
@pytest.mark.parametrize("first", ["tvm", "artifact"])
def test_it_shares_a_process_with_tvm_in_either_order(compiled, first):
    use = (
        "import tvm\n"
        f"sys.path.insert(0, {str(HERE)!r})\n"
        "import toy_relax\n"
        "vm = tvm.relax.VirtualMachine(tvm.compile(toy_relax.ToyModule, 'llvm'), tvm.cpu())\n"
    )
    after = "print(segment())"
    if first == "tvm":
        lines = segment_elsewhere(compiled, before=use, after=after)
    else:
        lines = segment_elsewhere(compiled, after=use + after)
    assert lines[0] == lines[1]
    assert "tvm" in lines[-1]


def test_processes_forked_with_a_loaded_model_can_use_it(compiled):
    if not sys.platform.startswith("linux"):
        pytest.skip("fork is for Linux")
    after = (
        "import os\n"
        "sys.stdout.flush()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    print(segment(), flush=True)\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    lines = segment_elsewhere(compiled, after=after)
    assert lines[0] == lines[1]


def test_weights_are_mapped_not_copied(compiled):
    after = (
        "maps = open('/proc/self/smaps').read()\n"
        "entry = maps[maps.index('weights.bin'):]\n"
        "print([l for l in entry.splitlines() if 'Private_Dirty' in l][0].split()[1])\n"
    )
    if not Path("/proc/self/smaps").exists():
        pytest.skip("tells mappings on Linux only")
    assert segment_elsewhere(compiled, after=after)[1] == "0"


@pytest.mark.parametrize(
    ("said", "lacks"),
    [
        ("std::bad_alloc", True),
        ("libtvm_runtime.so: cannot map: Cannot allocate memory", True),
        ("model.so: failed to map segment from shared object", True),
        ("model.so: failed to map segment from shared object: Operation not permitted", False),
        ("model.so: undefined symbol: TVMFFIGetVersion", False),
    ],
)
def test_a_lack_of_memory_is_told_from_other_faults(toy_artifact, monkeypatch, said, lacks):
    import tvm_ffi

    def fail(path):
        raise RuntimeError(said)

    monkeypatch.setattr(module, "load_runtime", lambda artifact: None)
    monkeypatch.setattr(tvm_ffi, "load_module", fail)
    with pytest.raises(MemoryError if lacks else ArtifactError, match=r"model\.so"):
        module.Machine(toy_artifact)
