"""The chart of a benchmark with known numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sam3_tvm.bench.report import BenchReport


@pytest.mark.parametrize("which", ["report", "two"])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_chart_labels_every_bar_and_nothing_overlaps(which, count, tmp_path, request):
    pytest.importorskip("matplotlib")
    from PIL import Image

    from sam3_tvm.bench.chart import draw, figure

    report: BenchReport = request.getfixturevalue(which)
    report.parts = (report.parts * 2)[:count]
    report.machine = replace(report.machine, cpu="A processor of a name that is long enough " * 4)
    # A slow first turn of ours: its bar is short, and the line behind it the longest of all.
    ours = report.timing("encode_image", "sam3-tvm")
    assert ours is not None
    longest = max(s for t in report.timings if t.part == ours.part for s in t.seconds)
    # A shorter one as well, so that the median stays.
    ours.seconds += [1.5 * longest, min(ours.seconds)]
    drawn = figure(report)
    panels = [ax for ax in drawn.axes if ax.get_visible()]
    assert [ax.get_title(loc="left") for ax in panels] == [p.title for p in report.parts]
    renderer = drawn.canvas.get_renderer()
    texts = []
    for ax in panels:
        labels = [t for t in ax.texts if t.get_text()]
        # A bar's each, and the verdict; the engine that isn't installed has none.
        assert len(labels) == len(report.engines)
        texts += labels + [t for t in ax.get_yticklabels() if t.get_text()]
        texts.append(ax._left_title)
    texts = [t for t in texts if t.get_text()] + drawn.texts
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in texts]
    for i, (text, box) in enumerate(boxes):
        assert box.x1 <= drawn.bbox.x1, f"{text!r} leaves the picture"
        for other, second in boxes[i + 1 :]:
            assert not box.overlaps(second), f"{text!r} and {other!r}"
    assert any("2.00x, error 0.0e+00" in t for t, _ in boxes)
    assert any("80% of peak, error 2.0e-06" in t for t, _ in boxes)
    assert any("error 4.0e-01 off" in t for t, _ in boxes)
    hatched = [bar for ax in panels for bar in ax.patches if bar.get_hatch()]
    assert len(hatched) == len(panels)
    draw(report, tmp_path / "chart.png")
    with Image.open(tmp_path / "chart.png") as picture:
        assert picture.width == 1920
