"""What a benchmark's report concludes from known numbers."""

from __future__ import annotations

import math

import pytest

from sam3_tvm.bench.exactness import Error


def test_ratio_rate_and_share_are_of_the_arithmetic_of_the_engine(report):
    timing = report.timing("encode_image", "torch")
    assert report.ratio(timing) == pytest.approx(2.0)
    assert report.rate(timing) == pytest.approx(80e9)
    assert report.share(timing) == pytest.approx(0.4)
    narrow = report.timing("encode_image", "openvino")
    assert report.share(narrow) == pytest.approx(320e9 / 400e9)
    # This CPU has no instruction for bytes, so no peak of it.
    assert math.isnan(report.share(report.timing("encode_image", "openvino-int8")))


def test_ours_is_compared_with_the_best_as_exact_and_with_the_best_of_all(report):
    encode, text, _ = report.comparisons()
    assert (encode.exact.engine, encode.best.engine) == ("torch", "openvino")
    assert encode.times(encode.exact) == pytest.approx(2.0)
    assert encode.times(encode.best) == pytest.approx(0.5)
    assert text.part.name == "text"


def test_what_is_off_is_the_best_of_nothing_though_it_is_the_fastest(report):
    off = report.timing("encode_image", "openvino-int8")
    assert off.off
    assert off.seconds
    assert report.best_peer("encode_image").engine == "openvino"
    off.error = Error(math.nan, math.nan)
    assert report.best_peer("encode_image").engine == "openvino"
    off.error = Error(0.04, 0.2)
    assert report.best_peer("encode_image").engine == "openvino-int8"


def test_each_of_ours_has_its_own_rivals(two):
    rows = {(c.part.name, c.ours.engine): c for c in two.comparisons()}
    assert len(rows) == 6
    exact = rows["encode_image", "sam3-tvm"]
    narrow = rows["encode_image", "sam3-tvm:b"]
    assert exact.exact.engine == "torch"
    assert narrow.exact.engine == narrow.best.engine == "openvino"
    assert narrow.times(narrow.exact) == pytest.approx(1.0)
    # None of ours is a rival of ours.
    assert two.best_peer("encode_image", Error(0.0125, 0.04)).engine == "openvino"
    assert two.ratio(narrow.ours) == pytest.approx(0.5)


def test_ours_is_faster_than_none_where_it_is_off(report):
    ours = report.timing("encode_image", "sam3-tvm")
    ours.error = Error(math.nan, math.nan)
    one = report.comparisons()[0]
    assert math.isnan(one.times(one.best))


def test_nothing_is_compared_without_a_time_of_ours(report):
    ours = report.timing("text", "sam3-tvm")
    ours.seconds, ours.failed = [], "was killed"
    assert [c.part.name for c in report.comparisons()] == ["encode_image", "one_prompt"]
    report.timings = [t for t in report.timings if t.engine == "sam3-tvm"]
    assert report.best_peer("encode_image") is None
    assert report.comparisons()[0].exact is None


def test_what_was_not_timed_gives_no_gain(report):
    assert report.gains() == {"sam3-tvm": pytest.approx({"encoded": 0.6, "fresh": 0.5})}
    report.prompts[0].seconds, report.prompts[0].failed = [], "was killed"
    assert set(report.gains()["sam3-tvm"]) == {"fresh"}
