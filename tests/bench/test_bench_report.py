"""Tables, JSON and chart of a benchmark with known numbers."""

from __future__ import annotations

import json
import math

import pytest

from sam3_tvm.bench.engines import OURS
from sam3_tvm.bench.parts import PROMPT_ROWS
from sam3_tvm.bench.report import (
    BenchReport,
    duration,
    headline,
    markdown,
    to_json,
    verdict,
)


def test_ratio_rate_and_share(report):
    timing = report.timing("encode_image", "torch")
    assert report.ratio(timing) == pytest.approx(2.0)
    assert report.rate(timing) == pytest.approx(80e9)
    assert report.peak == 200e9
    data = to_json(report)
    (found,) = [
        t for t in data["timings"] if t["part"] == "encode_image" and t["engine"] == "sam3-tvm"
    ]
    assert found["share_of_peak"] == pytest.approx(0.8)
    assert found["ratio_to_ours"] == 1.0
    assert len(found["seconds"]) == 3


def test_json_holds_every_finding_and_is_json(report):
    data = json.loads(json.dumps(to_json(report), allow_nan=False))
    assert data["machine"]["cpu"] == "AMD EPYC"
    rows = {t["part"]: t for t in data["prompts"]}
    assert list(rows) == list(PROMPT_ROWS)
    assert rows["eight_together"]["seconds"] == [6.0, 6.1, 5.9]
    assert rows["another_prompt"]["prompts"] == 1
    assert data["eight_of_one_by_one"] == pytest.approx({"encoded": 0.6, "fresh": 0.5})
    assert data["summary"][0]["best_peer"] == "torch"
    assert data["summary"][0]["times_the_best_peer"] == pytest.approx(2.0)
    failed = [t for t in data["timings"] if t["failed"]]
    assert [(t["engine"], t["part"]) for t in failed] == [("onnxruntime", "text")]
    assert "median_seconds" not in failed[0]


def test_markdown_has_a_row_for_each_engine_and_names_the_machine(report):
    text = markdown(report)
    assert headline(report) in text
    row = next(line for line in text.splitlines() if line.startswith("| OpenVINO | 156 s"))
    assert "| 5.00 | 32.0 | 16% |" in row
    assert "| ONNX Runtime | text_encoder: not exportable: Oops |" in text
    assert "| Encode a picture | 31.2 s | 80% | PyTorch | 62.5 s | **2.00 times** |" in text
    together = PROMPT_ROWS["eight_together"].title
    assert f"| {together} | 6 s | 5.9 s .. 6.1 s | 750 ms |" in text
    assert "take 0.60 of the time" in text
    assert "| PyTorch | torch 1.2 | 3 s | 2.00 GiB |" in text
    # Every table's rows have as many cells as its head.
    for block in text.split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1


def test_the_verdict_names_the_best_of_the_others_and_who_is_faster(report):
    encode, text, _ = report.parts
    assert verdict(report, encode) == "2.00 times as fast as PyTorch"
    slow = report.timing("encode_image", "openvino")
    slow.seconds = [12.5]
    assert verdict(report, encode) == "2.50 times slower than OpenVINO"
    ours = report.timing("text", "sam3-tvm")
    ours.seconds, ours.failed = [], "was killed"
    assert verdict(report, text) == ""
    report.timings = [t for t in report.timings if t.engine == "sam3-tvm"]
    assert report.best_peer("encode_image") is None
    assert verdict(report, encode) == ""
    assert "| Encode a picture | 31.2 s | 80% | - | - | - |" in markdown(report)
    assert to_json(report)["summary"][0]["best_peer"] is None


def test_the_headline_says_what_ours_stores_weights_in(report):
    assert "2 threads, float32; " in headline(report)
    report.weights = "float16"
    assert "2 threads, float32, ours with float16 weights; " in headline(report)


def test_what_was_not_timed_gives_no_gain(report):
    report.prompts[0].seconds, report.prompts[0].failed = [], "was killed"
    assert set(report.gains()) == {"fresh"}
    assert "| was killed | | |" in markdown(report)


def test_an_engine_that_died_is_a_row_that_says_so(report):
    report.engines[1].failed = "was killed by the system"
    assert "| PyTorch | torch 1.2 | failed: was killed by the system | - |" in markdown(report)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.000176, "0.176 ms"), (0.34, "340 ms"), (5.3, "5.3 s"), (62.31, "62.3 s"), (132.4, "132 s")],
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_no_time_is_a_dash():
    assert duration(math.nan) == "-"


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_chart_labels_every_bar_and_nothing_overlaps(report: BenchReport, count, tmp_path):
    pytest.importorskip("matplotlib")
    from PIL import Image

    from sam3_tvm.bench.chart import draw, figure

    report.parts = (report.parts * 2)[:count]
    # A slow first turn of ours: its bar is short, and the line behind it the longest of all.
    ours = [t for t in report.timings if t.engine == OURS]
    longest = max(s for t in report.timings if t.part == ours[0].part for s in t.seconds)
    # A shorter one as well, so that the median stays.
    ours[0].seconds += [1.5 * longest, min(ours[0].seconds)]
    drawn = figure(report)
    panels = [ax for ax in drawn.axes if ax.get_visible()]
    assert [ax.get_title(loc="left") for ax in panels] == [p.title for p in report.parts]
    renderer = drawn.canvas.get_renderer()
    texts = []
    for ax in panels:
        labels = [t for t in ax.texts if t.get_text()]
        assert len(labels) == 6  # a bar's each, and the verdict
        texts += labels + [t for t in ax.get_yticklabels() if t.get_text()]
    texts = [t for t in texts if t.get_text()] + drawn.texts
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in texts]
    for i, (text, box) in enumerate(boxes):
        assert box.x1 <= drawn.bbox.x1, f"{text!r} leaves the picture"
        for other, second in boxes[i + 1 :]:
            assert not box.overlaps(second), f"{text!r} and {other!r}"
    assert any("2.00x" in t for t, _ in boxes)
    assert any("80% of peak" in t for t, _ in boxes)
    draw(report, tmp_path / "chart.png")
    with Image.open(tmp_path / "chart.png") as picture:
        assert picture.width == 1920
