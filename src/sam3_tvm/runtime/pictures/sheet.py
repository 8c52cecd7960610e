"""Pictures in rows, with lines of text below each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

__all__ = ["Cells"]

_PAPER = (250, 250, 250)


@dataclass(frozen=True)
class Cells:
    """How a sheet is laid out; lengths in pixels.

    Attributes:
        columns: cells in a row, at most.
        size: width and height of a cell's picture.
        gap: between cells, and around them.
        font_size: of the text.
        lines: lines of text below each picture.
        line_height: from line to line.
        above: from a picture to its first line.
        ink: the text's colour, 8-bit RGB.
    """

    columns: int
    size: tuple[int, int]
    gap: int
    font_size: int
    lines: int
    line_height: int
    above: int = 0
    ink: tuple[int, int, int] = (30, 30, 30)

    def draw(self, cells: Sequence[tuple[Image.Image, Sequence[str]]]) -> Image.Image:
        """An RGB image of these pictures and their lines; at least one."""
        width, height = self.size
        columns = min(self.columns, len(cells))
        rows = -(-len(cells) // columns)
        across, down = width + self.gap, height + self.gap + self.lines * self.line_height
        sheet = Image.new("RGB", (columns * across + self.gap, rows * down + self.gap), _PAPER)
        draw = ImageDraw.Draw(sheet)
        font = ImageFont.load_default(self.font_size)
        for place, (picture, lines) in enumerate(cells):
            x, y = self.gap + place % columns * across, self.gap + place // columns * down
            sheet.paste(picture, (x, y))
            for number, line in enumerate(lines):
                at = (x, y + height + self.above + number * self.line_height)
                draw.text(at, line, fill=self.ink, font=font)
        return sheet

    def fitted(self, text: str) -> str:
        """The text, cut to the width of a cell."""
        font, width = ImageFont.load_default(self.font_size), self.size[0]
        if font.getlength(text) <= width:
            return text
        while text and font.getlength(f"{text}...") > width:
            text = text[:-1]
        return f"{text}..."
