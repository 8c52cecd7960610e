"""The plot of a sensitivity report with known numbers."""

from __future__ import annotations

import pytest

from sam3_tvm.sensitivity.report import ALL, SensitivityReport, SensitivityRow


def row(function, layer, error):
    return SensitivityRow(function, layer, (), 64, 64, 0.01, error, 0.0, 1.0)


@pytest.fixture
def report():
    made = SensitivityReport("random:tiny", ["a.jpg"], ["'dog'"])
    made.rows = [
        *(row("vision_encoder", f"x.layers.{i}.mlp.fc1", 0.01 / (i + 1)) for i in range(32)),
        *(row("vision_encoder", f"x.layers.{i}.attention.q", 0.002) for i in range(32)),
        row("text_encoder", "text_projection", 1e-9),
        row("text_encoder", "layers.0.fc2", 0.003),
    ]
    made.totals = [row("vision_encoder", ALL, 0.05), row("text_encoder", ALL, 0.004)]
    return made


def test_a_panel_for_each_function_and_a_line_for_each_kind(report, tmp_path):
    pytest.importorskip("matplotlib")
    from PIL import Image

    from sam3_tvm.sensitivity.chart import draw, figure

    drawn = figure(report)
    panels = [ax for ax in drawn.axes if ax.get_visible()]
    assert [ax.get_title(loc="left") for ax in panels] == ["vision_encoder", "text_encoder"]
    lines = {line.get_label(): line for line in panels[0].lines}
    assert list(lines["mlp.fc1"].get_xdata()) == list(range(32))
    assert list(lines["mlp.fc1"].get_ydata()) == [0.01 / (i + 1) for i in range(32)]
    assert any(line.get_linestyle() == "--" for line in panels[0].lines)
    low, high = panels[1].get_ylim()
    for line in panels[1].lines:
        assert all(low < y < high for y in line.get_ydata()), "a point lies outside"
    assert [t.get_text() for t in panels[1].get_xticklabels()] == ["0", "beside"]
    assert len(panels[0].get_xticks()) <= 12
    draw(report, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.width == 1920


def test_a_layer_is_placed_by_its_block():
    pytest.importorskip("matplotlib")
    from sam3_tvm.sensitivity.chart import place_of

    assert place_of(row("f", "a.layers.11.mlp.fc1", 0)) == (11, "mlp.fc1")
    assert place_of(row("f", "text_projection", 0)) == (None, "text_projection")
