"""Which layers lose most in eight bits: the figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["ALL", "SensitivityReport", "SensitivityRow"]

ALL = "all of them"
"""The name of the row in which every layer of a function is in eight bits."""


@dataclass(frozen=True)
class SensitivityRow:
    """Layers of a function that read the same rows, computed in eight bits, and all else in
    float32.

    Attributes:
        function: whose.
        layer: their name, :data:`ALL` for every layer of the function.
        weights: names of their parameters.
        inputs, outputs: K, and N of all together; 0 for :data:`ALL`.
        own: root mean square of the differences of their outputs, relative to the outputs'.
        function_error: that of the function's outputs, of the one where it is largest.
        score_error: largest difference of a score, of whatever query of whatever prompt.
        iou: mean intersection over union of masks that the reference finds.
    """

    function: str
    layer: str
    weights: tuple[str, ...]
    inputs: int
    outputs: int
    own: float
    function_error: float
    score_error: float
    iou: float


@dataclass
class SensitivityReport:
    """Every layer that was measured.

    Attributes:
        checkpoint: of what.
        pictures: names of those that were asked.
        prompts: what was asked of each.
        rows: groups of layers, those that lose most at their function's end first.
        totals: of each function, all of its layers that were measured at once.
    """

    checkpoint: str
    pictures: list[str]
    prompts: list[str]
    rows: list[SensitivityRow] = field(default_factory=list)
    totals: list[SensitivityRow] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return asdict(self)
