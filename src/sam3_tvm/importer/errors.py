"""Errors of the importer that a user can act on."""

from __future__ import annotations

from collections.abc import Mapping

from sam3_tvm.errors import Sam3Error

__all__ = ["UnsupportedOperators"]


class UnsupportedOperators(Sam3Error):
    """Operators without a converter: all of them, each with the places that call it.

    Attributes:
        operators: operator name -> source lines in the model, ``file:line in function``.
    """

    def __init__(self, operators: Mapping[str, list[str]]) -> None:
        self.operators = dict(operators)
        rows = [
            f"  {name} ({len(places)}x), first at {places[0]}"
            for name, places in self.operators.items()
        ]
        super().__init__(
            f"no converter for {len(self.operators)} operator(s); register one with "
            "sam3_tvm.importer.converter, or write the model without them:\n" + "\n".join(rows)
        )
