"""A report with known numbers."""

from __future__ import annotations

import pytest

from sam3_tvm.bench.report import BenchReport, EngineResult, MachineFacts, PartInfo, Timing

PEERS = ("torch", "torch-compile", "onnxruntime", "openvino")
TITLES = dict(
    zip(
        ("sam3-tvm", *PEERS),
        ("sam3-tvm", "PyTorch", "torch.compile", "ONNX Runtime", "OpenVINO"),
        strict=True,
    )
)


def made_report() -> BenchReport:
    """Five engines, three parts; ONNX Runtime could not do the second."""
    machine = MachineFacts("AMD EPYC", "x86-64-v4", 2, 24 << 30, "Linux-6", "3.11.7")
    report = BenchReport(
        "random:sam3", "sam3-cpu", False, "2026-01-02T03:04+00:00", machine, 2, 3, 0
    )
    report.peak_flops = [190e9, 200e9, 210e9]
    report.parts = [
        PartInfo("encode_image", "Encode a picture", ("vision_encoder",), 5000 * 10**9),
        PartInfo("text", "Encode a phrase", ("text_encoder",), 10**9),
        PartInfo("one_prompt", "One prompt, after the encoders", ("a", "b"), 400 * 10**9),
    ]
    for i, (name, title) in enumerate(TITLES.items()):
        report.engines.append(
            EngineResult(name, title, {name: "1.2"}, [1.0 + i, 3.0 + i], (1 + i) << 30)
        )
        for part, base in zip(report.parts, (31.25, 0.1, 2.0), strict=True):
            times = [base * (1 + i) * f for f in (0.98, 1.0, 1.04)]
            report.timings.append(Timing(part.name, name, 2 * times[0], times, 1e-6))
    failed = report.timing("text", "onnxruntime")
    assert failed is not None
    failed.seconds, failed.failed, failed.error = [], "text_encoder: not exportable: Oops", None
    for part, times in {
        "eight_singly": [10.0, 9.0, 11.0],
        "another_prompt": [1.25, 1.3, 1.2],
        "eight_together": [6.0, 6.1, 5.9],
        "eight_fresh_singly": [16.0, 17.0, 15.0],
        "eight_fresh_together": [8.0, 8.1, 7.9],
    }.items():
        report.prompts.append(Timing(part, "sam3-tvm", 2 * times[0], times, 0.0))
    return report


@pytest.fixture
def report() -> BenchReport:
    return made_report()
