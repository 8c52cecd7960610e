"""What would be a fault in a run of :mod:`load`; each check gives a line for each fault."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

import numpy as np
from load_clients import FILM, Load, Question
from prometheus_client.parser import text_string_to_metric_families

from sam3_tvm.film.frame import to_line
from sam3_tvm.runtime.pictures.image import read_picture
from sam3_tvm.serve.answers import Form, click_answer, segment_answer

# How much more memory the server may have at the end, whichever is more.
GROWTH, GROWTH_BYTES = 0.10, 64 << 20

# What is asked about the run itself.
ABOUT = ("/metrics", "/readyz", "/v1")

# Of so many clients that hang up while they wait, one at least is seen to.
_ENOUGH = 5

_MIB = 1 << 20


class Counted:
    """What a server counted so far.

    Args:
        metrics: what it said of them.
    """

    def __init__(self, metrics: str) -> None:
        self._samples = [
            one for family in text_string_to_metric_families(metrics) for one in family.samples
        ]

    def of(self, name: str, **labels: str) -> float:
        """The sum of all that have these labels."""
        return sum(
            one.value
            for one in self._samples
            if one.name == f"sam3_tvm_{name}" and labels.items() <= one.labels.items()
        )

    def mean(self, name: str, kind: str, before: Counted) -> float:
        """Mean seconds of a kind since then; 0 where there were none."""

        def more(end: str) -> float:
            return self.of(f"{name}_{end}", kind=kind) - before.of(f"{name}_{end}", kind=kind)

        return more("sum") / (more("count") or 1.0)

    def answered(self) -> float:
        """Requests, but for those about the run."""
        return self.of("requests_total") - sum(self.of("requests_total", route=r) for r in ABOUT)

    def left(self, route: str) -> float:
        """Clients that it saw hang up."""
        return self.of("requests_total", route=route, status="499")


def tenths(memory: Sequence[int]) -> list[float]:
    """Means of each tenth of the measurements."""
    return [fmean(part.tolist()) for part in np.array_split(np.array(memory), 10) if len(part)]


def memory_faults(memory: Sequence[int]) -> list[str]:
    """Whether the server grew from the first tenth to the last.

    Args:
        memory: bytes, measured at every so many requests; its cache was full before.
    """
    means = tenths(memory)
    if len(means) < 2:
        return ["memory: measured too rarely to tell whether it grew"]
    first, last = means[0], means[-1]
    if last - first <= max(GROWTH * first, GROWTH_BYTES):
        return []
    return [
        f"memory: {last / _MIB:.0f} MiB in the last tenth, {first / _MIB:.0f} in the first: more "
        f"than {GROWTH:.0%} and {GROWTH_BYTES // _MIB} MiB beyond it"
    ]


def order_faults(before: Counted, after: Counted) -> list[str]:
    """Whether clicks waited for their turns longer than encodings did, by the server's clock."""
    clicks, pictures = (after.mean("waited_seconds", k, before) for k in ("click", "encode"))
    if clicks <= pictures:
        return []
    return [
        f"clicks were overtaken: they waited {clicks * 1000:.1f} ms for their turn on average, "
        f"encodings {pictures * 1000:.1f} ms"
    ]


def count_faults(load: Load, after: Counted) -> list[str]:
    """Whether the server counted what was sent, and saw clients hang up."""
    faults = []
    if after.answered() != load.sent:
        faults.append(f"{load.sent} requests were sent, and {after.answered():.0f} counted")
    least = Counter({"/v1/images": load.left["upload"]})  # half of a picture: nothing else to do
    least["/v1/images"] += load.left["encode"] >= _ENOUGH
    for route in ("segment", "click"):
        least[f"/v1/images/{{id}}/{route}"] += load.left[route] >= _ENOUGH
    for route, count in least.items():
        if after.left(route) < count:
            faults.append(
                f"{route}: {after.left(route):.0f} clients were seen to leave (499), not {count} "
                "or more"
            )
    return faults


def answer_faults(load: Load, model) -> list[str]:
    """Whether every answer is the library's, byte for byte."""
    kept = {which: model.encode_image(data) for which, data in enumerate(load.known)}
    faults = []
    for question, answers in load.answers.items():
        expected = _expected(question, load, model, kept)
        if answers != {expected}:
            faults.append(f"another answer than the library's: {question}")
    return faults


def _expected(question: Question, load: Load, model, kept: dict) -> bytes:
    asked = json.loads(question.asked)
    if question.route == "track":
        return followed(model, asked)
    form, draw = Form(question.accept), asked.get("draw", False)
    picture = kept[question.which]
    if question.route == "click":
        return click_answer(model.click(picture, asked["points"]), form, draw, False)
    rgb = read_picture(load.known[question.which]) if draw else None
    return segment_answer(model.segment(picture, asked["phrases"]), form, rgb)


def followed(model, asked: dict) -> bytes:
    """The lines of the film, from its first frame on."""
    with model.track(FILM) as session:
        for phrase in asked.get("phrases", ()):
            session.add_text(phrase)
        for one in asked.get("objects", ()):
            session.add(one["id"], 0, points=one["points"], point_labels=[1] * len(one["points"]))
        found = session.propagate(0, asked["frames"])
        return "".join(f"{to_line(one, session.frames.fps)}\n" for one in found).encode()
