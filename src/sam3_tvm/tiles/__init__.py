"""Pictures that are too large to be seen at once: tile by tile, and what lies on seams joined.

:func:`segment_tiled` asks a model; :func:`open_windows` reads a file by windows.
"""

from __future__ import annotations

from sam3_tvm.tiles.layout import Tiling
from sam3_tvm.tiles.place import Place
from sam3_tvm.tiles.result import TiledResult
from sam3_tvm.tiles.run import segment_tiled
from sam3_tvm.tiles.windows import Windows, open_windows

__all__ = ["Place", "TiledResult", "Tiling", "Windows", "open_windows", "segment_tiled"]
