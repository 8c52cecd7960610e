"""CVAT for images 1.1: an XML file with masks as run lengths."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.annotate.formats.base import Contents, text_of
from sam3_tvm.annotate.records import AnnotatedObject

__all__ = ["write"]


def write(folder: Path, contents: Contents) -> None:
    """``annotations.xml``, to be imported into a task that has the pictures and the labels."""
    with (folder / "annotations.xml").open("w", encoding="utf-8", newline="\n") as file:
        xml = XMLGenerator(file, "utf-8", short_empty_elements=True)
        xml.startDocument()
        xml.startElement("annotations", _attributes())
        _text(xml, "version", "1.1")
        xml.startElement("meta", _attributes())
        xml.startElement("task", _attributes())
        xml.startElement("labels", _attributes())
        for name in contents.categories:
            xml.startElement("label", _attributes())
            _text(xml, "name", text_of(name))
            _text(xml, "type", "mask")
            xml.startElement("attributes", _attributes())
            xml.endElement("attributes")
            xml.endElement("label")
        for element in ("labels", "task", "meta"):
            xml.endElement(element)
        for number, (_, picture) in enumerate(contents.read()):
            height, width = picture.size
            about = {"id": number, "name": text_of(picture.name), "width": width, "height": height}
            xml.characters("\n")
            xml.startElement("image", _attributes(about))
            for one in picture.objects:
                xml.characters("\n")
                xml.startElement("mask", _attributes(_mask(one, picture.size)))
                xml.endElement("mask")
            xml.endElement("image")
        xml.endElement("annotations")
        xml.endDocument()


def _text(xml: XMLGenerator, element: str, text: str) -> None:
    xml.startElement(element, _attributes())
    xml.characters(text)
    xml.endElement(element)


def _attributes(values: dict[str, object] | None = None) -> AttributesImpl[str]:
    return AttributesImpl({name: f"{value}" for name, value in (values or {}).items()})


def _mask(one: AnnotatedObject, size: tuple[int, int]) -> dict[str, object]:
    x, y, mask = one.window(size)
    return {
        "label": text_of(one.category),
        "source": "auto",
        "occluded": 0,
        "rle": ", ".join(map(str, _run_lengths(mask))),
        "left": x,
        "top": y,
        "width": mask.shape[1],
        "height": mask.shape[0],
        "z_order": 0,
    }


def _run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of runs in the order of rows: of what is not of the mask, of what is, and so on."""
    flat = np.concatenate([[False], mask.ravel()])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    lengths: list[int] = np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()
    return lengths
