"""What pictures' results are written as, one picture after the other."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sam3_tvm.batch.outcome import Outcome
from sam3_tvm.files import OutputFile, OutputFolder, write_whole
from sam3_tvm.film.faults import CannotGoOn
from sam3_tvm.film.outputs.json_lines import JsonLines
from sam3_tvm.runtime import ClickResult, Result
from sam3_tvm.runtime.pictures.sheet import Cells
from sam3_tvm.tiles import TiledResult
from sam3_tvm.tiles.geo import check_geopackage, write_geojson, write_geopackage

__all__ = ["Found", "Lines", "Masks", "OneOverlay", "Outlines", "Output", "Overlays", "Sheet"]

Found = Result | TiledResult | ClickResult


class Output(ABC):
    """One of the things that are written. Pictures come in ascending order."""

    path: Path

    @abstractmethod
    def begin(self, states: Sequence[Any], journal: Path | None) -> None:
        """Begin, or go on.

        Args:
            states: what :meth:`state` gave after each picture in an earlier process.
            journal: a folder for what isn't finished; None where nothing can be gone on with.
        """

    @abstractmethod
    def write(self, outcome: Outcome, results: Sequence[Found]) -> None:
        """Take the next picture."""

    def state(self) -> Any:
        """What is needed to go on from here besides earlier pictures' states, as plain data."""
        return None

    def finish(self) -> None:
        """Make it whole with what was taken; called once, also when the run is cut short."""
        return  # for what is whole after every picture


class _Pictures(Output):
    """A folder with pictures, whose names each are given once."""

    _numbered = False  # whether what is written has numbers after the names

    def __init__(self, folder: OutputFolder) -> None:
        self.path = folder.path
        self._folder = folder
        self._said = 0

    def begin(self, states: Sequence[Any], journal: Path | None) -> None:
        for names in states:
            for name in names:
                self._folder.take(name)
        self._said = len(self._folder.given)

    def state(self) -> Any:
        names = self._folder.given[self._said :]
        self._said += len(names)
        return names

    def _name(self, outcome: Outcome, results: Sequence[Found], result: Found) -> Path:
        several = len(results) > 1
        text = _text(result) if several else None
        return self._folder.name(Path(outcome.picture), text, self._numbered)


class Overlays(_Pictures):
    """A folder with a PNG per picture and phrase: what was found drawn over it."""

    def write(self, outcome: Outcome, results: Sequence[Found]) -> None:
        for result in results:
            path = self._name(outcome, results, result)
            self._folder.write(result.overlay(), path)
            outcome.overlays.append(f"{path}")


class Masks(_Pictures):
    """A folder with a PNG per object, ``photo-1.png``: white where it is, in the result's order.

    Args:
        folder: the folder.
        first: the number of the first.
    """

    _numbered = True

    def __init__(self, folder: OutputFolder, first: int = 1) -> None:
        super().__init__(folder)
        self._first = first

    def write(self, outcome: Outcome, results: Sequence[Found]) -> None:
        for result in results:
            named = self._name(outcome, results, result)
            assert not isinstance(result, TiledResult), "which has no masks of a picture's size"
            for number, mask in enumerate(result.masks, self._first):
                picture = Image.fromarray(mask.astype(np.uint8) * 255)
                self._folder.write(picture, named.with_name(f"{named.stem}-{number}.png"))


class Lines(Output):
    """A line of JSON per picture, masks run-length encoded as in COCO."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = JsonLines(path)

    def begin(self, states: Sequence[Any], journal: Path | None) -> None:
        self._lines.start(None, Path(), {"length": np.array(states[-1])} if states else {})

    def write(self, outcome: Outcome, results: Sequence[Found]) -> None:
        self._lines.write_line(json.dumps(outcome.line()))

    def state(self) -> Any:
        return int(self._lines.state()["length"])

    def finish(self) -> None:
        self._lines.finish()


class Outlines(Output):
    """A picture's outlines in its coordinate system: GeoJSON, or a GeoPackage."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._geopackage = path.suffix.lower() == ".gpkg"
        OutputFile(path, "-o")  # refuses what can't be written
        if self._geopackage:
            check_geopackage()

    def begin(self, states: Sequence[Any], journal: Path | None) -> None:
        return  # it is written at once

    def write(self, outcome: Outcome, results: Sequence[Found]) -> None:
        tiled = [result for result in results if isinstance(result, TiledResult)]
        objects = (one for result in tiled for one in result.outlined())
        save = write_geopackage if self._geopackage else write_geojson
        save(self.path, objects, tiled[0].place)


class OneOverlay(Output):
    """One picture's overlay, at its full size."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = OutputFile(path, "-o")

    def begin(self, states: Sequence[Any], journal: Path | None) -> None:
        return  # it is written at once

    def write(self, outcome: Outcome, results: Sequence[Found]) -> None:
        image = results[0].overlay()
        self._file.write(lambda path: image.save(path, format="PNG"))


class Sheet(Output):
    """A contact sheet of up to twelve overlays, evenly spaced over pictures and phrases.

    Args:
        path: the file.
        pictures: how many there are.
        phrases: how many results each has.
    """

    _COLUMNS, _CELLS = 4, 12
    _SIZE = (360, 270)
    _BEHIND = (235, 235, 235)

    def __init__(self, path: Path, pictures: int, phrases: int) -> None:
        self.path = path
        self._file = OutputFile(path, "-o")
        self._phrases = phrases
        last = pictures * phrases - 1
        self._chosen = set(np.linspace(0, last, self._CELLS).round().astype(int).tolist())
        self._kept: list[tuple[int, Image.Image, list[str]]] = []
        self._said = 0
        self._journal: Path | None = None

    def begin(self, states: Sequence[Any], journal: Path | None) -> None:
        self._journal = journal
        try:
            for number, lines in (cell for cells in states for cell in cells):
                with Image.open(self._cell(number)) as image:
                    self._kept.append((number, image.convert("RGB"), lines))
        except (OSError, ValueError) as error:
            raise CannotGoOn(f"{self._cell(number)}: is gone or damaged") from error
        self._said = len(self._kept)

    def write(self, outcome: Outcome, results: Sequence[Found]) -> None:
        for place, result in enumerate(results):
            number = outcome.number * self._phrases + place
            if number not in self._chosen:
                continue
            small = result.overlay()
            small.thumbnail(self._SIZE)
            cell = Image.new("RGB", self._SIZE, self._BEHIND)
            cell.paste(small, ((cell.width - small.width) // 2, (cell.height - small.height) // 2))
            if self._journal is not None:
                self._keep(cell, number)
            lines = [Path(outcome.file_name).name, f"{_text(result)}: {len(result)}"]
            self._kept.append((number, cell, lines))

    def state(self) -> Any:
        new = self._kept[self._said :]
        self._said += len(new)
        return [[number, lines] for number, _, lines in new]

    def finish(self) -> None:
        if not self._kept:
            return
        layout = Cells(self._COLUMNS, self._SIZE, 8, 15, 2, 20, 4, (40, 40, 40))
        kept = sorted(self._kept, key=lambda one: one[0])
        sheet = layout.draw([(cell, [*map(layout.fitted, lines)]) for _, cell, lines in kept])
        self._file.write(lambda path: sheet.save(path, format="PNG"))

    def _cell(self, number: int) -> Path:
        assert self._journal is not None, "what is gone on with has a journal"
        return self._journal / f"cell-{number}.png"

    def _keep(self, cell: Image.Image, number: int) -> None:
        write_whole(self._cell(number), lambda path: cell.save(path, format="PNG"))


def _text(result: Found) -> str:
    assert not isinstance(result, ClickResult), "of several results each has its phrase"
    return result.text
