"""The sizes that kernels are cut by, where these are for measuring to decide.

What registers allow follows from the instruction set, and is in ``kernels/product/tile.py``. How
large blocks are follows from caches, memory and how CPUs fetch ahead, of which the kernels' files
have a model; the sizes here are its results, and :mod:`sam3_tvm.tune` looks around them, but for
those of a matrix unit, which were timed by hand. A kernel rounds them to what its register tile
takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

__all__ = ["Tiles"]

_MOST = 1 << 14


@dataclass(frozen=True)
class Tiles:
    """Sizes of blocks, in values.

    Attributes:
        gemm_rows, gemm_columns: the block of a product that one task makes; narrow products get
            half the columns.
        gemm_depth: steps of the reduction between two visits of a block; of pairs of bfloat16 twice
            as many.
        matrix_rows, matrix_columns, matrix_depth: the same three, in words, where a matrix unit
            multiplies.
        strassen_rows, strassen_depth: the same where Strassen's algorithm is used.
        task_queries: queries of an attention's task, at most: fewer where caches are smaller.
        block_keys: keys between two looks at the running maximum.
        matrix_queries, matrix_keys: the same two where a matrix unit multiplies.
        strip_steps: steps of a convolution's reduction (channels times taps) between two visits
            of a sum.

    Raises:
        ValueError: a size that is no integer between 1 and 16384.
    """

    gemm_rows: int = 96
    gemm_columns: int = 256
    gemm_depth: int = 256
    matrix_rows: int = 192
    matrix_columns: int = 512
    matrix_depth: int = 128
    strassen_rows: int = 192
    strassen_depth: int = 512
    task_queries: int = 576
    block_keys: int = 192
    matrix_queries: int = 1152
    matrix_keys: int = 128
    strip_steps: int = 288

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, int) or not 1 <= value <= _MOST:
                raise ValueError(f"{name} is an integer from 1 to {_MOST}, not {value!r}")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Tiles:
        """The inverse of :meth:`to_json`; sizes that ``data`` lacks are the defaults.

        Raises:
            ValueError: an unknown name, or a size that cannot be one.
        """
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise ValueError(f"no size is named {unknown[0]!r}; there are {', '.join(known)}")
        return cls(**data)

    def to_json(self) -> dict[str, int]:
        """Every size by name."""
        return asdict(self)
