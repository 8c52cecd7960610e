"""A project's labelling configuration: where its pictures are, and which regions it takes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from sam3_tvm.errors import UsageError

__all__ = ["KINDS", "Control", "Interface", "Label", "parse"]

KINDS = ("brushlabels", "polygonlabels", "rectanglelabels")
"""Regions that are made, those that say most of a mask first."""

_THRESHOLD = 0.5


@dataclass(frozen=True)
class Label:
    """A label.

    Attributes:
        value: its name in Label Studio.
        phrases: what is looked for: those in ``predicted_values``, or the name.
    """

    value: str
    phrases: tuple[str, ...]


@dataclass(frozen=True)
class Control:
    """A tag that regions come from.

    Attributes:
        kind: one of :data:`KINDS`.
        name: the tag's.
        labels: in its order.
        threshold: ``model_score_threshold``: what is found with a higher score is kept.
    """

    kind: str
    name: str
    labels: tuple[Label, ...]
    threshold: float


@dataclass(frozen=True)
class Interface:
    """What a configuration says of one picture.

    Attributes:
        image: the name of its Image tag.
        key: under which tasks have the picture.
        controls: its tags, in the order of :data:`KINDS`.
    """

    image: str
    key: str
    controls: tuple[Control, ...]

    def wanted(self) -> Iterator[tuple[Control, Label]]:
        """Each label once, with the tag that says most of a mask."""
        seen: set[str] = set()
        for control in self.controls:
            for label in control.labels:
                if label.value not in seen:
                    seen.add(label.value)
                    yield control, label

    def control_of(self, label: str | None) -> tuple[Control, str]:
        """The tag that a region of this label comes from, and the label: of none, the first."""
        for control, known in self.wanted():
            if label is None or known.value == label:
                return control, known.value
        return self.controls[0], self.controls[0].labels[0].value

    def label_of(self, phrase: str) -> str | None:
        """The label that this phrase is one of."""
        told = phrase.strip().lower()
        for _, label in self.wanted():
            if told in (name.lower() for name in (label.value, *label.phrases)):
                return label.value
        return None


def parse(xml: str) -> Interface:
    """Read a configuration; of several pictures the first that has tags of these kinds counts.

    Raises:
        UsageError: it is no XML, or has nothing that regions could be made for.
    """
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise UsageError("the labelling configuration has a DOCTYPE: none is read")
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise UsageError(f"the labelling configuration is no XML ({error})") from error
    controls = [control for tag in root.iter() for control in _controls(tag)]
    for tag in root.iter("Image"):
        name, value = tag.get("name", ""), tag.get("value", "")
        own = [control for to_name, control in controls if to_name == name]
        if own and value.startswith("$"):
            return Interface(
                name, value[1:], tuple(sorted(own, key=lambda one: KINDS.index(one.kind)))
            )
    raise UsageError(
        'the labelling configuration has no <Image value="$..."> with BrushLabels, PolygonLabels '
        "or RectangleLabels, and labels in them"
    )


def _controls(tag: ElementTree.Element) -> Iterator[tuple[str, Control]]:
    """A tag's control, for each of the pictures that it is for."""
    kind = tag.tag.lower()
    # Labels of a task's own (value="$...") aren't known here.
    labels = tuple(_label(one) for one in tag.iter("Label") if one.get("value", "$")[:1] != "$")
    if kind in KINDS and labels:
        control = Control(kind, tag.get("name", ""), labels, _threshold(tag))
        for to_name in tag.get("toName", "").split(","):
            yield to_name.strip(), control


def _label(tag: ElementTree.Element) -> Label:
    value = tag.get("value", "")
    phrases = (one.strip() for one in tag.get("predicted_values", "").split(","))
    return Label(value, tuple(filter(None, phrases)) or (value,))


def _threshold(tag: ElementTree.Element) -> float:
    said = tag.get("model_score_threshold")
    if said is None:
        return _THRESHOLD
    try:
        value = float(said)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise UsageError(f"model_score_threshold={said!r}: a number from 0 to 1 is taken")
    return value
