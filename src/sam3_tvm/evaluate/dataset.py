"""Annotated pictures: COCO's instance annotations, with or without a list of prompts.

A plain file gives one prompt for each category that is in a picture. With a top-level
``"prompts"`` list the prompts are those: ``id``, ``image_id``, ``text`` (null for boxes alone),
``boxes`` (x0, y0, x1, y1 in pixels), ``box_labels`` (1 alike, 0 unlike), ``annotation_ids`` (what
is to be found; empty for nothing), ``kind`` (a name to group figures by) and ``held_out``.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam3_tvm.errors import Sam3Error, one_line
from sam3_tvm.evaluate.plain_values import flag, key, number, whole
from sam3_tvm.evaluate.segmentation import Rle, to_rle
from sam3_tvm.json_file import read_json

__all__ = ["CATEGORY_KIND", "Dataset", "DatasetError", "PictureEntry", "Query", "read_dataset"]

#: The kind of the prompts that are made of a plain file's categories.
CATEGORY_KIND = "category"

Box = tuple[float, float, float, float]

# Coordinates of boxes beyond are a mistake, or no numbers.
_FAR = 1e9


class DatasetError(Sam3Error, ValueError):
    """Annotations that cannot be read or make no sense; the message says which."""

    def __str__(self) -> str:
        return one_line(super().__str__())


@dataclass(frozen=True)
class Query:
    """One prompt in one picture, and what is to be found.

    Attributes:
        id: the prompt's, or the category's in a plain file.
        text: the phrase; None for boxes alone.
        boxes: x0, y0, x1, y1 in pixels, cut at the picture's edges.
        labels: one per box, 1 or 0.
        kind: the name of its group.
        held_out: whether it asks for what training left out.
        targets: masks of the objects to be found.
        crowds: masks of regions with objects that are not counted.
        category: the category of a plain file's prompt.
    """

    id: int | str
    text: str | None
    boxes: tuple[Box, ...]
    labels: tuple[int, ...]
    kind: str
    held_out: bool
    targets: tuple[Rle, ...]
    crowds: tuple[Rle, ...] = ()
    category: int | str | None = None


@dataclass(frozen=True)
class PictureEntry:
    """A picture file, its height and width, and its prompts."""

    path: Path
    size: tuple[int, int]
    queries: tuple[Query, ...]


@dataclass(frozen=True)
class Dataset:
    """What an annotation file asks for.

    Attributes:
        annotations: the file.
        pictures: those that have prompts.
        plain: whether the prompts are the categories; then mask AP can be computed.
    """

    annotations: Path
    pictures: tuple[PictureEntry, ...]
    plain: bool

    @property
    def queries(self) -> int:
        """Number of prompts."""
        return sum(len(picture.queries) for picture in self.pictures)


def read_dataset(annotations: Path, images: Path, limit: int | None = None) -> Dataset:
    """Read and check an annotation file.

    Args:
        annotations: COCO's JSON of instances, with or without prompts.
        images: the folder that its file names are relative to.
        limit: read only the first so many pictures that have prompts.

    Raises:
        DatasetError: no such file, no JSON, an entry without what it needs, an id that nothing
            has, a segmentation that is none, or a picture that is missing.
    """
    document = _Document(annotations, _load(annotations))
    by_image = document.categories() if document.plain else document.prompts()
    pictures: list[PictureEntry] = []
    for image_id, entries in by_image.items():
        if len(pictures) == limit:
            break
        pictures.append(document.picture(image_id, entries, images))
    if not pictures:
        raise DatasetError(f"{annotations}: nothing to look for in it: no prompts, no annotations")
    return Dataset(annotations, tuple(pictures), document.plain)


def _load(path: Path) -> dict[str, Any]:
    try:
        document = read_json(path)
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path}: no such file; give a folder with annotations.json and its pictures, or "
            "--annotations and --images"
        ) from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DatasetError(f"{path}: is no JSON ({error})") from error
    if not isinstance(document, dict):
        raise DatasetError(f"{path}: is no annotation file: COCO's is an object with images in it")
    return document


class _Document:
    """An annotation file by its ids, and the messages about what is wrong in it."""

    def __init__(self, path: Path, document: dict[str, Any]) -> None:
        self.path = path
        self.document = document
        self.plain = "prompts" not in document
        self.images = self._by_id("images", "picture")
        self.annotations = self._by_id("annotations", "annotation")
        for name, one in self.annotations.items():
            if key(one.get("image_id")) not in self.images:
                raise self.error(f"annotation {name}: no picture has the id {one.get('image_id')}")
        self.crowds = {
            name: self._flag(one, "iscrowd", f"annotation {name}")
            for name, one in self.annotations.items()
        }

    def error(self, message: str) -> DatasetError:
        return DatasetError(f"{self.path}: {message}")

    def prompts(self) -> dict[Any, list[dict[str, Any]]]:
        """The prompts by the picture that they are about."""
        by_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for name, one in self._by_id("prompts", "prompt").items():
            image = key(one.get("image_id"))
            if image not in self.images:
                raise self.error(f"prompt {name}: no picture has the id {one.get('image_id')}")
            by_image[image].append(one)
        return by_image

    def categories(self) -> dict[Any, list[dict[str, Any]]]:
        """A prompt for each category of each picture, in the form of those of a file.

        Categories of one name are one: sets that were merged have it under several ids, and the
        phrase would be asked twice, each time for a part of what it finds. Names that the text
        encoder doesn't tell apart, by case and spaces, are one name.
        """
        categories = self._by_id("categories", "category")
        first: dict[str, Any] = {}
        same = {}
        for at, category in categories.items():
            text = category.get("name")
            said = " ".join(text.split()).lower() if isinstance(text, str) else ""
            same[at] = first.setdefault(said, at) if said else at
        members: dict[tuple[Any, Any], list[Any]] = defaultdict(list)
        for name, one in self.annotations.items():
            category_id = key(one.get("category_id"))
            if category_id not in categories:
                given = one.get("category_id")
                raise self.error(f"annotation {name}: no category has the id {given}")
            members[key(one["image_id"]), same[category_id]].append(name)
        by_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for (image, category_id), found in members.items():
            # A category that is there as a crowd only asks for nothing that could be found.
            if all(self.crowds[name] for name in found):
                continue
            text = categories[category_id].get("name")
            entry = {"id": category_id, "text": text, "image_id": image}
            entry |= {"annotation_ids": found, "kind": CATEGORY_KIND, "category": category_id}
            by_image[image].append(entry)
        return {image: by_image[image] for image in self.images if image in by_image}

    def picture(
        self, image_id: Any, entries: Iterable[dict[str, Any]], folder: Path
    ) -> PictureEntry:
        image = self.images[image_id]
        name = image.get("file_name")
        if not isinstance(name, str) or not name or "\0" in name:
            raise self.error(f"picture {image_id}: has no file_name")
        height, width = (whole(image.get(side)) for side in ("height", "width"))
        if height is None or width is None or not all(0 < n <= 1 << 15 for n in (height, width)):
            said = f"{image.get('height')} and {image.get('width')}"
            raise self.error(f"picture {image_id}: its height and width are {said}")
        path = folder / name
        if not os.path.isfile(path):
            raise DatasetError(f"{path}: no such picture; {self.path} names it, see --images")
        size = (height, width)
        masks: dict[Any, Rle] = {}
        return PictureEntry(
            path, size, tuple(self._query(one, image_id, size, masks) for one in entries)
        )

    def _query(
        self, entry: dict[str, Any], image: Any, size: tuple[int, int], masks: dict[Any, Rle]
    ) -> Query:
        name = f"prompt {entry['id']} of picture {image}"
        text = entry.get("text")
        if text is not None and (not isinstance(text, str) or not text.strip()):
            raise self.error(f"{name}: its text is {text!r}; a phrase, or null for boxes alone")
        boxes = self._boxes(entry.get("boxes"), name, size)
        given = entry.get("box_labels", [1] * len(boxes))
        labels = [flag(one) for one in given] if isinstance(given, list) else [None]
        if len(labels) != len(boxes) or None in labels:
            raise self.error(f"{name}: box_labels are {given}; 1 or 0 for each of its boxes")
        if text is None and not boxes:
            raise self.error(f"{name}: has neither text nor boxes")
        kind = entry.get("kind", "prompt")
        if not isinstance(kind, str) or not kind:
            raise self.error(f"{name}: its kind is {kind!r}; a name")
        wanted = entry.get("annotation_ids")
        if not isinstance(wanted, list):
            raise self.error(f"{name}: has no list of annotation_ids (empty for nothing)")
        targets: list[Rle] = []
        crowds: list[Rle] = []
        for one in dict.fromkeys(map(key, wanted)):
            annotation = self.annotations.get(one)
            if annotation is None or key(annotation["image_id"]) != image:
                raise self.error(f"{name}: its picture has no annotation of the id {one}")
            if one not in masks:
                masks[one] = self._mask(one, annotation, size)
            (crowds if self.crowds[one] else targets).append(masks[one])
        return Query(
            entry["id"],
            text,
            boxes,
            tuple(int(bool(one)) for one in labels),
            kind,
            self._flag(entry, "held_out", name),
            tuple(targets),
            tuple(crowds),
            entry.get("category"),
        )

    def _mask(self, name: Any, annotation: dict[str, Any], size: tuple[int, int]) -> Rle:
        try:
            return to_rle(annotation.get("segmentation"), size)
        except ValueError as error:
            raise self.error(f"annotation {name}: {error}") from error

    def _boxes(self, boxes: Any, name: str, size: tuple[int, int]) -> tuple[Box, ...]:
        """The boxes, cut at the picture's edges: SAM 3's implementations differ on the rest."""
        checked: list[Box] = []
        if not (boxes is None or isinstance(boxes, list)):
            raise self.error(f"{name}: its boxes are {boxes!r}; a list of x0, y0, x1, y1 each")
        for box in boxes or ():
            numbers = box if isinstance(box, list) and len(box) == 4 else [math.nan]
            # Compared so that NaN is refused, too.
            if not all(number(v) and abs(v) < _FAR for v in numbers):
                raise self.error(f"{name}: the box {box} is not x0, y0, x1, y1 in pixels")
            x0, x1 = (min(max(float(x), 0.0), float(size[1])) for x in (box[0], box[2]))
            y0, y1 = (min(max(float(y), 0.0), float(size[0])) for y in (box[1], box[3]))
            if x1 <= x0 or y1 <= y0:
                raise self.error(f"{name}: the box {box} is empty, or lies outside the picture")
            checked.append((x0, y0, x1, y1))
        return tuple(checked)

    def _flag(self, entry: dict[str, Any], name: str, where: str) -> bool:
        """An entry that is yes or no; no where it is absent or null."""
        given = entry.get(name)
        value = False if given is None else flag(given)
        if value is None:
            raise self.error(f"{where}: its {name} is {given!r}; 0 or 1")
        return value

    def _by_id(self, listed: str, what: str) -> dict[Any, dict[str, Any]]:
        entries = self.document.get(listed)
        if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
            raise self.error(f"is no annotation file: it has no list of {listed}")
        by_id: dict[Any, dict[str, Any]] = {}
        for one in entries:
            name = key(one.get("id"))
            if name is None:
                raise self.error(f"a {what} has the id {one.get('id')!r}; a number or a string")
            if name in by_id:
                raise self.error(f"two entries in {listed} have the id {name}")
            by_id[name] = one
        return by_id
