"""How the weights of a product lie in memory, so that its innermost loop reads them front to back.

Of a matrix [N, K], ``width`` rows side by side are a *panel*, and ``pack`` neighbours along K a
word: ``[ceil(N / width), ceil(K / pack), width * pack]``, zeros behind the last row and the last
column. A linear layer loads a panel's step as vectors, a convolution broadcasts its values; to both
it is one run of memory a step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from sam3_tvm.compiler.kernels.emit import Expr, tensor
from sam3_tvm.compiler.kernels.product.stored_weights import STORED

__all__ = ["PackedLayout"]


@dataclass(frozen=True)
class PackedLayout:
    """A layout of matrices of any size.

    Attributes:
        width: rows of the matrix in a panel.
        pack: values in a word.
        dtype: precision of the values, a key of :data:`STORED`.
    """

    width: int
    pack: int = 1
    dtype: str = "float32"

    def panels(self, n: int) -> int:
        """Panels of n rows."""
        return -(-n // self.width)

    def rows(self, n: int) -> int:
        """Rows of whole panels, at least n."""
        return self.panels(n) * self.width

    def words(self, k: int) -> int:
        """Words of k columns."""
        return -(-k // self.pack)

    def shape(self, n: int, k: int) -> tuple[int, ...]:
        """The packed matrix's."""
        return (self.panels(n), self.words(k), self.width * self.pack)

    def argument(self, name: str, n: int, k: int) -> Expr:
        """The kernel's next tensor argument: a packed matrix."""
        return tensor(name, self.shape(n, k), STORED[self.dtype])

    def padded(self, emit: Callable[[Expr], Expr], rows: Expr) -> Expr:
        """A matrix [N, K], or a vector of N, with zeros up to whole panels and words, in Relax."""
        sizes = [int(extent) for extent in rows.ty.shape.values]
        missing = [0, self.rows(sizes[0]) - sizes[0]]
        missing += [v for k in sizes[1:] for v in (0, self.words(k) * self.pack - k)]
        return emit(relax.op.nn.pad(rows, missing)) if any(missing) else rows

    def packed(self, emit: Callable[[Expr], Expr], rows: Expr) -> Expr:
        """A padded matrix as the kernel takes it, in Relax."""
        n, k = (int(extent) for extent in rows.ty.shape.values)
        cut, order = self._cut(n, k)
        packed = emit(relax.op.permute_dims(emit(relax.op.reshape(rows, cut)), list(order)))
        return packed if self.pack == 1 else emit(relax.op.reshape(packed, self.shape(n, k)))

    def array(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Both, of a NumPy matrix [N, K]."""
        n, k = rows.shape
        missing = (self.rows(n) - n, self.words(k) * self.pack - k)
        padded = np.pad(rows, [(0, count) for count in missing])
        cut, order = self._cut(*padded.shape)
        return np.ascontiguousarray(padded.reshape(cut).transpose(order)).reshape(self.shape(n, k))

    def _cut(self, n: int, k: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The axes that a padded matrix is cut into, and their order when packed."""
        cut = (n // self.width, self.width, k // self.pack, *([self.pack] if self.pack > 1 else []))
        return cut, (0, 2, 1, 3)[: len(cut)]
