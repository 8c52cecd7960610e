"""``sam3-tvm compile``: what it says of the size of pictures, and of calibrating."""

from __future__ import annotations

import warnings

import pytest

pytest.importorskip("torch")

from sam3_tvm import compiler, host
from sam3_tvm.binary import Binary
from sam3_tvm.cli import compile as compiling
from sam3_tvm.compiler import CompileReport
from sam3_tvm.sources.image_size import ImageSizeWarning, VisionShape

SAM3 = VisionShape(1008, 1008, 14, 24, 32, 4, 1024, 4736)


@pytest.mark.parametrize("size", ["500", "70", "-14"])
def test_a_size_that_cant_be_is_one_line_and_leaves_nothing(cli, folder, size):
    result = cli("compile", "random:tiny", "-o", "out", "--image-size", size)
    assert result.exit_code == 2
    error = result.stderr.strip().splitlines()[-1]
    assert error.startswith(
        f"error: image size {size}: it must be a multiple of 14 from 84 to 1344"
    )
    assert "nearest" in error
    assert not (folder / "out").exists()


@pytest.mark.parametrize("size", [504, 672, 1008, 1344, None])
def test_what_a_size_costs_is_said(cli, folder, monkeypatch, size):
    shape = SAM3.at(size)

    def made(checkpoint, output, *, image_size, **_):
        assert image_size == size
        if shape.warning():
            warnings.warn(shape.warning(), ImageSizeWarning, stacklevel=2)
        return CompileReport(output, vision=shape)

    monkeypatch.setattr(compiler, "compile", made)
    asked = [] if size is None else ["--image-size", f"{size}"]
    result = cli("compile", "random:sam3", "-o", "out", *asked)
    assert result.exit_code == 0
    assert ("336 and 672 need no padding" in result.stderr) == (size == 504)
    costs = [line for line in result.stdout.splitlines() if "GFLOP" in line]
    assert costs == {
        504: [
            "a picture of 504 pixels costs the vision encoder 1334 GFLOP, 25% of what 1008 "
            "pixels do"
        ],
        672: [
            "a picture of 672 pixels costs the vision encoder 2291 GFLOP, 42% of what 1008 "
            "pixels do"
        ],
        1344: [
            "a picture of 1344 pixels costs the vision encoder 10206 GFLOP, 189% of what 1008 "
            "pixels do"
        ],
    }.get(size, [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--calibrate", "empty"], "calibrating is for compute int8"),
        (["--compute", "int8", "--calibrate", "empty"], "no pictures in this folder"),
        (["--compute", "int8", "--calibrate", "gone"], "cannot be read as a folder"),
        (["--compute", "int8", "--text", "dog"], "phrases and a bound are for calibrating"),
        (["--keep-above", "0.1"], "phrases and a bound are for calibrating"),
    ],
)
def test_calibrating_on_nothing_is_one_line_and_leaves_nothing(cli, folder, options, message):
    (folder / "empty").mkdir()
    result = cli("compile", "random:tiny", "-o", "out", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (folder / "out").exists()


def test_what_was_calibrated_is_said(cli, folder, monkeypatch):
    from sam3_tvm.manifest import Calibration

    asked = {}

    def made(checkpoint, output, **options):
        asked.update(options)
        said = Calibration(3, 2, 0.01, {"vision_encoder": ("a", "b")}, {"text_encoder": ("x",)})
        return CompileReport(output, calibration=said)

    monkeypatch.setattr(compiler, "compile", made)
    (folder / "photos").mkdir()
    result = cli(
        *("compile", "random:tiny", "-o", "out", "--compute", "int8", "--calibrate", "photos"),
        *("--text", "dog", "--text", "cat", "--keep-above", "0.02"),
    )
    assert result.exit_code == 0, result.output
    assert asked["phrases"] == ["dog", "cat"]
    assert asked["bound"] == 0.02
    assert f"{asked['calibrate']}".endswith("photos")
    assert (
        "calibrated on 3 pictures: 2 norms smoothed, not in int8 (error above 0.01): x"
        in result.stdout
    )


@pytest.mark.parametrize(
    ("features", "told", "silent"),
    [
        ({"AVX512BF16", "AVX512VNNI"}, ("--compute bfloat16", "--compute int8"), ()),
        ({"AVX512BF16"}, ("--compute bfloat16", "0.6 of the time"), ("int8",)),
        (
            {"AVX512BF16", "AMXBF16", "AVX512VNNI"},
            ("--compute bfloat16 encodes a picture in about 0.2 ", "--compute int8 in about 0.14"),
            (),
        ),
    ],
)
def test_what_the_cpu_could_do_is_said(monkeypatch, features, told, silent):
    monkeypatch.setattr(host, "features", lambda: frozenset(features))
    said = compiling._faster_here()
    assert all(words in said for words in told)
    assert not any(words in said for words in silent)


def test_a_cpu_without_more_is_told_nothing(monkeypatch):
    monkeypatch.setattr(host, "features", lambda: frozenset({"AVX2"}))
    assert compiling._faster_here() is None


@pytest.mark.parametrize("target", [Binary.here(), Binary("Linux", "s390x")])
def test_what_links_and_what_runs_are_handed_on_and_where_to_go_is_said(
    cli, folder, monkeypatch, target
):
    asked = {}

    def made(checkpoint, output, **options):
        asked.update(options)
        return CompileReport(output, target=target)

    monkeypatch.setattr(compiler, "compile", made)
    cross = ("--target", "aarch64", "--cxx", "aarch64-linux-gnu-g++ -O2", "--runtime", "arm.so")
    result = cli("compile", "random:tiny", "-o", "out", *cross)
    assert result.exit_code == 0, result.output
    assert asked["cxx"] == "aarch64-linux-gnu-g++ -O2"
    assert f"{asked['runtime']}" == "arm.so"
    elsewhere = "copy the folder to a machine of Linux on s390x, and there: " in result.stdout
    assert elsewhere is (target != Binary.here())
