"""A report with known numbers."""

from __future__ import annotations

import pytest

from sam3_tvm.bench.exactness import Error
from sam3_tvm.bench.report import (
    BenchReport,
    EngineResult,
    MachineFacts,
    PartInfo,
    PeakRates,
    Timing,
)

# By engine the title, how many times as long as the first it takes, and its rms error.
ENGINES = {
    "sam3-tvm": ("sam3-tvm", 1, 2e-6),
    "torch": ("PyTorch", 2, 0.0),
    "torch-compile": ("torch.compile", 3, 1e-6),
    "onnxruntime": ("ONNX Runtime", 4, 1e-6),
    "openvino": ("OpenVINO", 0.5, 0.0125),
    "openvino-int8": ("OpenVINO int8", 0.25, 0.4),
}


def made_report() -> BenchReport:
    """Six engines, three parts. ONNX Runtime could not do the second, OpenVINO is fast for being
    less exact, in eight bits its results are off, and one engine is not installed."""
    machine = MachineFacts("AMD EPYC", "x86-64-v4", 2, 24 << 30, "Linux-6", "3.11.7")
    report = BenchReport(
        "random:sam3", ["sam3-cpu"], False, "2026-01-02T03:04+00:00", machine, 2, 3, 0
    )
    report.peaks = [
        PeakRates("float32", "FMA", [190e9, 200e9, 210e9]),
        PeakRates("bfloat16", "vdpbf16ps", [400e9]),
        PeakRates("int8", None),
    ]
    report.parts = [
        PartInfo("encode_image", "Encode a picture", ("vision_encoder",), 5000 * 10**9),
        PartInfo("text", "Encode a phrase", ("text_encoder",), 10**9),
        PartInfo("one_prompt", "One prompt, after the encoders", ("a", "b"), 400 * 10**9),
    ]
    for i, (name, (title, factor, rms)) in enumerate(ENGINES.items()):
        dtype = {"openvino": "bfloat16", "openvino-int8": "int8"}.get(name, "float32")
        versions, loads = {name: "1.2"}, [1.0 + i, 3.0 + i]
        report.engines.append(
            EngineResult(name, title, i == 0, dtype, versions, loads, (1 + i) << 30)
        )
        for part, base in zip(report.parts, (31.25, 0.1, 2.0), strict=True):
            times = [base * factor * f for f in (0.98, 1.0, 1.04)]
            error = Error(rms, 3 * rms)
            report.timings.append(Timing(part.name, name, dtype, 2 * times[0], times, error))
    failed = report.timing("text", "onnxruntime")
    assert failed is not None
    failed.seconds, failed.failed, failed.error = [], "text_encoder: not exportable: Oops", None
    missing = "not installed (nncf): pip install 'sam3-tvm[bench]'"
    report.engines.append(EngineResult("other", "Another", failed=missing))
    for part, times in {
        "eight_singly": [10.0, 9.0, 11.0],
        "another_prompt": [1.25, 1.3, 1.2],
        "eight_together": [6.0, 6.1, 5.9],
        "eight_fresh_singly": [16.0, 17.0, 15.0],
        "eight_fresh_together": [8.0, 8.1, 7.9],
    }.items():
        timing = Timing(part, "sam3-tvm", "float32", 2 * times[0], times, Error(0.0, 0.0))
        report.prompts.append(timing)
    return report


def add_second(report: BenchReport) -> None:
    """Another artifact of ours: twice as fast as the first, and as exact as OpenVINO."""
    second = EngineResult("sam3-tvm:b", "sam3-bf16", True, "bfloat16", {}, [1.0], 1 << 30)
    report.engines.insert(1, second)
    report.engines[0].title = "sam3-f32"
    for part, base in zip(report.parts, (15.625, 0.05, 1.0), strict=True):
        timing = Timing(part.name, second.name, "bfloat16", base, [base], Error(0.012, 0.04))
        report.timings.append(timing)


@pytest.fixture
def report() -> BenchReport:
    return made_report()


@pytest.fixture
def two(report: BenchReport) -> BenchReport:
    add_second(report)
    return report
