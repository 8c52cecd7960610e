"""Errors of the importer that a user can act on."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import fx

from sam3_tvm.errors import Sam3Error

__all__ = ["ConversionError", "RandomOperators", "UnsupportedOperators", "source_line"]

_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')


def source_line(node: fx.Node) -> str:
    """The innermost frame of the model's own code that made this node."""
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    # Branches of torch.cond were traced through code that torch generated.
    frames = [frame for frame in frames if not frame[0].startswith("<")]
    return "{}:{} in {}".format(*frames[-1]) if frames else f"graph node {node.name}"


class ConversionError(Sam3Error):
    """An operator whose arguments its converter can't take, or whose result is not PyTorch's.

    Attributes:
        node: the graph node.
    """

    def __init__(self, node: fx.Node, problem: str) -> None:
        self.node = node
        super().__init__(f"{node.target} at {source_line(node)}: {problem}")


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


class RandomOperators(UnsupportedOperators):
    """Operators that draw random numbers, which a compiled module can't: it would give the same
    ones for ever."""

    def __init__(self, operators: Mapping[str, list[str]]) -> None:
        self.operators = dict(operators)
        places = "; ".join(
            f"{name} ({len(places)}x), first at {places[0]}"
            for name, places in self.operators.items()
        )
        Sam3Error.__init__(
            self,
            "a compiled module draws no random numbers; give them as an input, or export for "
            f"inference (training=False, dropout 0): {places}",
        )
