"""Tables and JSON of a benchmark with known numbers."""

from __future__ import annotations

import json
import math

import pytest

from sam3_tvm.bench.exactness import Error
from sam3_tvm.bench.parts import PROMPT_ROWS
from sam3_tvm.bench.report import PeakRates
from sam3_tvm.bench.writing import (
    duration,
    headline,
    markdown,
    peak_lines,
    to_json,
    verdicts,
)


def cells(text: str, first: str) -> list[list[str]]:
    """The cells of all rows that begin with a name."""
    rows = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_json_holds_every_finding_and_is_json(two):
    two.timing("text", "openvino-int8").error = Error(math.nan, math.inf)
    data = json.loads(json.dumps(to_json(two), allow_nan=False))
    assert data["machine"]["cpu"] == "AMD EPYC"
    assert data["artifacts"] == ["sam3-cpu"]
    peaks = {p["arithmetic"]: (p["instruction"], p["median"]) for p in data["peaks"]}
    assert peaks == {
        "float32": ("FMA", 200e9),
        "bfloat16": ("vdpbf16ps", 400e9),
        "int8": (None, None),
    }
    found = {(t["part"], t["engine"]): t for t in data["timings"]}
    ours = found["encode_image", "sam3-tvm"]
    assert ours["share_of_peak"] == pytest.approx(0.8)
    assert ours["ratio_to_ours"] == 1.0
    assert ours["error"] == {"rms": 2e-6, "largest": pytest.approx(6e-6)}
    assert len(ours["seconds"]) == 3
    off = found["encode_image", "openvino-int8"]
    assert off["off"]
    assert off["median_seconds"] > 0
    assert off["share_of_peak"] is None
    assert found["text", "openvino-int8"]["error"] == {"rms": None, "largest": None}
    failed = [t for t in data["timings"] if t["failed"]]
    assert [(t["engine"], t["part"]) for t in failed] == [("onnxruntime", "text")]
    assert "median_seconds" not in failed[0]
    assert failed[0]["error"] is None
    rows = {t["part"]: t for t in data["prompts"]}
    assert list(rows) == list(PROMPT_ROWS)
    assert rows["eight_together"]["seconds"] == [6.0, 6.1, 5.9]
    assert rows["another_prompt"]["prompts"] == 1
    assert data["eight_of_one_by_one"]["sam3-tvm"] == pytest.approx({"encoded": 0.6, "fresh": 0.5})
    assert data["summary"][0] == {
        "part": "encode_image",
        "ours": "sam3-tvm",
        "best_at_least_as_exact": "torch",
        "times_the_best_at_least_as_exact": pytest.approx(2.0),
        "best_of_all": "openvino",
        "times_the_best_of_all": pytest.approx(0.5),
    }


def test_the_error_stands_beside_every_time_and_what_is_off_is_marked(report):
    text = markdown(report)
    row = next(r for r in cells(text, "OpenVINO int8") if r[1] == "7.81 s")
    assert row[2:4] == ["4.0e-01 off", "1.2e+00"]
    assert row[6:10] == ["0.25", "int8", "640.0", "-"]
    row = next(r for r in cells(text, "OpenVINO") if r[1] == "15.6 s")
    assert row[2:4] == ["1.3e-02", "3.8e-02"]
    assert row[6:10] == ["0.50", "bfloat16", "320.0", "80%"]
    assert ["ONNX Runtime", "text_encoder: not exportable: Oops"] in [
        r[:2] for r in cells(text, "ONNX Runtime")
    ]


def test_the_summary_has_a_row_for_each_of_ours_with_both_rivals(two):
    rows = cells(markdown(two), "Encode a picture")
    assert rows == [
        [
            *("Encode a picture", "sam3-f32", "31.2 s", "2.0e-06", "80%"),
            *("PyTorch", "62.5 s", "**2.00 times**"),
            *("OpenVINO", "15.6 s", "1.3e-02", "**0.50 times**"),
        ],
        [
            *("Encode a picture", "sam3-bf16", "15.6 s", "1.2e-02", "80%"),
            *("OpenVINO", "15.6 s", "**1.00 times**"),
            *("OpenVINO", "15.6 s", "1.3e-02", "**1.00 times**"),
        ],
    ]


def test_markdown_names_the_machine_and_every_engine(report):
    text = markdown(report)
    assert headline(report) in text
    together = PROMPT_ROWS["eight_together"].title
    assert f"| {together} | 6 s | 5.9 s .. 6.1 s | 750 ms |" in text
    assert "take 0.60 of the time" in text
    assert "| PyTorch | float32 | torch 1.2 | 3 s | 2.00 GiB |" in text
    assert "| Another | not installed (nncf): pip install 'sam3-tvm[bench]' | - | - | - |" in text


@pytest.mark.parametrize("which", ["report", "two"])
def test_every_row_of_a_table_has_as_many_cells_as_its_head(which, request):
    for block in markdown(request.getfixturevalue(which)).split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1


def test_without_others_the_summary_has_dashes(report):
    report.timings = [t for t in report.timings if t.engine == "sam3-tvm"]
    (row,) = cells(markdown(report), "Encode a picture")
    assert row[1:5] == ["sam3-tvm", "31.2 s", "2.0e-06", "80%"]
    assert set(row[5:]) == {"-"}
    assert verdicts(report, report.parts[0]) == []


def test_the_verdict_names_both_rivals_and_who_is_faster(report):
    encode = report.parts[0]
    assert verdicts(report, encode) == [
        [
            "2.00 times as fast as PyTorch (best as exact)",
            "2.00 times slower than OpenVINO (best of all)",
        ]
    ]
    report.timing("encode_image", "openvino").seconds = [93.75]
    assert verdicts(report, encode) == [
        ["2.00 times as fast as PyTorch (best of all, as exact)"],
    ]
    for peer in ("torch", "torch-compile", "onnxruntime"):
        report.timing("encode_image", peer).seconds = []
    assert verdicts(report, encode) == [
        ["none of the others is as exact", "3.00 times as fast as OpenVINO (best of all)"]
    ]
    report.timing("encode_image", "sam3-tvm").error = Error(math.nan, math.nan)
    assert verdicts(report, encode) == [["off, so compared with none"]]


def test_several_of_ours_are_told_apart(two):
    first, second = verdicts(two, two.parts[0])
    assert first[0] == "sam3-f32: 2.00 times as fast as PyTorch (best as exact)"
    assert second == ["sam3-bf16: 1.00 times as fast as OpenVINO (best of all, as exact)"]
    assert "times sam3-f32" in markdown(two)


def test_every_peak_is_told_and_what_the_cpu_lacks(report):
    assert peak_lines(report) == [
        "float32: FMA, 200 GFLOP/s (190 to 210 in 3 measurements)",
        "bfloat16: vdpbf16ps, 400 GFLOP/s (400 to 400 in 1 measurements)",
        "int8: this CPU has no instruction for products of it",
    ]
    assert "measured peak FMA 200 GFLOP/s, vdpbf16ps 400 GFLOP/s" in headline(report)


def test_several_instructions_of_one_kind_share_a_line(report):
    report.peaks.insert(1, PeakRates("bfloat16", "tdpbf16ps", [5900e9]))
    assert peak_lines(report)[1] == (
        "bfloat16: tdpbf16ps, 5900 GFLOP/s (5900 to 5900 in 1 measurements); "
        "vdpbf16ps, 400 GFLOP/s (400 to 400 in 1 measurements)"
    )
    # Shares are of the first.
    assert report.peak("bfloat16") == 5900e9
    assert "tdpbf16ps 5900 GFLOP/s, vdpbf16ps 400 GFLOP/s" in headline(report)


def test_prompts_that_were_not_timed_say_why(report):
    report.prompts[0].seconds, report.prompts[0].failed = [], "was killed"
    assert "| was killed | | |" in markdown(report)


def test_an_engine_that_died_is_a_row_that_says_so(report):
    report.engines[1].failed = "failed: was killed by the system"
    assert "| PyTorch | failed: was killed by the system | torch 1.2 | - | - |" in markdown(report)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.000176, "0.176 ms"), (0.34, "340 ms"), (5.3, "5.3 s"), (62.31, "62.3 s"), (132.4, "132 s")],
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_no_time_is_a_dash():
    assert duration(math.nan) == "-"
