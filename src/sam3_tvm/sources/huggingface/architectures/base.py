"""What is known of an architecture of transformers'."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

__all__ = ["Architecture", "RandomModel"]


@dataclass(frozen=True)
class RandomModel:
    """A model of seeded random weights, to be had by a name after ``random:``.

    Attributes:
        config: makes the detector's configuration.
        clicks: of its tracker's mask decoder, what follows neither from that nor from SAM 3; None
            where it has no tracker.
        video: the same of what the tracker has for video.
    """

    config: Callable[[], Any]
    clicks: Mapping[str, int] | None = None
    video: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Architecture:
    """A detector of transformers' with SAM 3's parts, which the components here are cut from.

    Attributes:
        model_type: what its ``config.json`` calls it.
        config: the class of its configuration.
        model: its class, called and cut as ``Sam3Model`` is.
        module: the module of its code, in which operators of torchvision are replaced.
        random: its models of random weights, by the names after ``random:``.
    """

    model_type: str
    config: Any
    model: Any
    module: ModuleType
    random: dict[str, RandomModel]
