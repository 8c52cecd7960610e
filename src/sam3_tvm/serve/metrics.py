"""What is counted and timed, as Prometheus reads it."""

from __future__ import annotations

from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

__all__ = ["MEDIA_TYPE", "Metrics"]

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Seconds: from a click of the demonstration model to SAM 3's encoder on one core.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """One server's counters, in a registry of their own.

    Attributes:
        requests: answered, by route, method and status.
        seconds: from a request's first byte to its answer's last, by route.
        waiting: turns that are waited for, by kind.
        waited: seconds before a turn, by kind.
        computed: seconds of a turn, by kind.
        encoded: pictures that the encoder was run on.
        reused: pictures that came again and were there.
        evicted: encodings that made room for others.
        pictures: that are kept, and their bytes.
        following: films that are followed now.
        frames: of films, passed.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        own: dict[str, Any] = {"registry": self.registry, "namespace": "sam3_tvm"}
        self.requests = Counter(
            "requests", "Requests answered.", ["route", "method", "status"], **own
        )
        self.seconds = Histogram(
            "request_seconds", "A request's time.", ["route"], buckets=_SECONDS, **own
        )
        self.waiting = Gauge("waiting", "Turns that are waited for.", ["kind"], **own)
        self.waited = Histogram(
            "waited_seconds", "Time before a turn.", ["kind"], buckets=_SECONDS, **own
        )
        self.computed = Histogram(
            "computed_seconds", "A turn's time.", ["kind"], buckets=_SECONDS, **own
        )
        self.encoded = Counter("pictures_encoded", "Pictures that were encoded.", **own)
        self.reused = Counter("pictures_reused", "Pictures that came again.", **own)
        self.evicted = Counter("pictures_evicted", "Encodings that made room.", **own)
        self.pictures = Gauge("pictures", "Encoded pictures kept.", **own)
        self.picture_bytes = Gauge("picture_bytes", "Memory of encoded pictures.", **own)
        self.following = Gauge("films_followed", "Films that are followed now.", **own)
        self.frames = Counter("frames", "Frames of films that were passed.", **own)

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry)
