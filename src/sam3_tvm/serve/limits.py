"""What one server takes: of a request, and of all of them together."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Bounds; what goes beyond one is refused with a line that names it.

    Attributes:
        picture_bytes: of a picture's file as it is sent.
        pixels: of a picture, or a film's frame.
        json_bytes: of a request that asks something; logits of an earlier click are most of it.
        lines_bytes: of what was found in a film, sent back to be drawn.
        prompts: phrases, boxes, points and examples of one request together.
        encoded_bytes: memory of all encoded pictures; the least recently used go first.
        waiting: requests of a kind (clicks, prompts, pictures) that are under way at a time.
        seconds: for a request to come in, and again for it to be answered.
        film_bytes: of a film's file.
        films: that are kept on the disk.
        films_followed: at a time.
        frames: that one request passes.
        film_seconds: for which one request follows a film.
    """

    picture_bytes: int = 32 << 20
    pixels: int = 50_000_000
    json_bytes: int = 8 << 20
    lines_bytes: int = 64 << 20
    prompts: int = 64
    encoded_bytes: int = 2 << 30
    waiting: int = 32
    seconds: float = 300.0
    film_bytes: int = 512 << 20
    films: int = 8
    films_followed: int = 2
    frames: int = 10_000
    film_seconds: float = 3600.0
