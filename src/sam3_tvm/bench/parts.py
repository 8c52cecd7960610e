"""What is measured: parts of SAM 3's work, each one or several functions of the ABI in a row.

Names of tensors in the ABI are the wiring: a part's functions run in order, each takes what
an earlier one gave under that name, and what none gave is an input of the part. So a part
needs no code of its own, and follows the ABI when that changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.components import Component, Dim, TensorSpec
from sam3_tvm.errors import Sam3Error

__all__ = [
    "EIGHT",
    "KEPT",
    "PROMPT_ROWS",
    "BenchError",
    "Part",
    "PromptRow",
    "compare",
    "default_parts",
    "external_inputs",
    "kept_queries",
    "load_arrays",
    "max_relative_error",
    "run_part",
    "save_arrays",
    "select_parts",
    "usual_sizes",
]

KEPT = 20
"""Queries for which our runtime decodes masks in a part that detects: a crowded picture.

PyTorch's ``Sam3Model.forward``, and every engine made of it, decodes all queries, since the
graph doesn't know which will be kept.
"""

EIGHT = "eight_prompts"


class BenchError(Sam3Error):
    """A measurement that can't be made as asked."""


@dataclass(frozen=True)
class Part:
    """Functions that are run and timed together.

    Attributes:
        name: as the command line spells it.
        title: for tables and charts.
        functions: names of components, in calling order; none for :data:`EIGHT`, which our
            runtime's own interface runs.
        keeps: whether our engine decodes masks for :data:`KEPT` queries only.
    """

    name: str
    title: str
    functions: tuple[str, ...]
    keeps: bool = False


@dataclass(frozen=True)
class PromptRow:
    """A way to segment one picture by several prompts, timed through our runtime's interface.

    The vision encoder and the text encoder are no part of any of them: the picture's features
    and the phrases' are there. What the detector computes of the picture alone, once a picture,
    is part of the rows with ``fresh``.

    Attributes:
        name, title: for reports.
        prompts: how many phrases.
        together: whether they go in one call.
        fresh: whether ``encode_image`` is run first, with the vision encoder's result given:
            once for the call, or once for each prompt.
    """

    name: str
    title: str
    prompts: int
    together: bool = False
    fresh: bool = False


PROMPT_ROWS = {
    row.name: row
    for row in (
        PromptRow("eight_singly", "eight calls of one prompt, same picture", 8),
        PromptRow("another_prompt", "another prompt on the same picture", 1),
        PromptRow("eight_together", "eight prompts in one call, same picture", 8, together=True),
        PromptRow("eight_fresh_singly", "eight times a new picture and one prompt", 8, fresh=True),
        PromptRow(
            "eight_fresh_together",
            "a new picture once, and eight prompts in one call",
            8,
            together=True,
            fresh=True,
        ),
    )
}
"""What :data:`EIGHT` measures, by name. The first gives the results that the others must give."""


_PARTS = (
    Part("encode_image", "Encode a picture", ("vision_encoder",)),
    Part("text", "Encode a phrase", ("text_encoder",)),
    Part(
        "one_prompt",
        "One prompt, after the encoders",
        ("detr_encoder", "detr_decoder", "scoring", "mask_decoder"),
        keeps=True,
    ),
    Part("click", "One click, after the encoder", ("prompt_encoder", "click_decoder")),
    Part(EIGHT, "Eight prompts on one picture", ()),
)


def default_parts(components: Mapping[str, Component]) -> list[Part]:
    """The parts that make up segmenting a picture by a phrase or a click, as far as there are
    functions for them."""
    return [p for p in _PARTS if all(name in components for name in p.functions)]


def select_parts(names: Sequence[str] | None, components: Mapping[str, Component]) -> list[Part]:
    """The parts of these names: those of :func:`default_parts`, or single functions.

    Raises:
        BenchError: a name that is neither.
    """
    if names is None:
        return default_parts(components)
    known = {p.name: p for p in default_parts(components)}
    # Alone, a function does the same work in every engine: all queries, for one.
    known |= {n: Part(n, n, (n,)) for n in components if n not in known}
    if unknown := [n for n in names if n not in known]:
        raise BenchError(
            f"nothing to measure named {unknown[0]!r}; accepted are {', '.join(known)}"
        )
    return [known[n] for n in dict.fromkeys(names)]


def usual_sizes(component: Component) -> dict[str, int]:
    """Sizes of a component's dynamic dimensions at which it is measured: one picture, one phrase,
    one click, and an object that has been followed for a while."""
    return {name: dim.usual for name, dim in component.dims.items()}


def external_inputs(part: Part, components: Mapping[str, Component]) -> tuple[TensorSpec, ...]:
    """What a part takes that none of its earlier functions gives, in order of first use."""
    made: set[str] = set()
    taken: dict[str, TensorSpec] = {}
    for name in part.functions:
        for spec in components[name].inputs:
            if spec.name not in made:
                taken.setdefault(spec.name, spec)
        made |= {spec.name for spec in components[name].outputs}
    return tuple(taken.values())


def kept_queries(queries: int) -> NDArray[np.int64]:
    """The queries taken for kept: :data:`KEPT` of them, spread evenly over all."""
    return np.linspace(0, queries - 1, min(KEPT, queries)).astype(np.int64)


def run_part(
    part: Part,
    components: Mapping[str, Component],
    inputs: Mapping[str, Any],
    call: Callable[[str, Sequence[Any]], Sequence[Any]],
    kept: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """Run a part's functions in order.

    Args:
        part: what to run.
        components: the ABI.
        inputs: the part's external inputs by name, as the engine takes them.
        call: runs one function on a list of inputs and gives its outputs in order.
        kept: indices of the queries that a function with a dimension ``queries`` sees; all
            if None.

    Returns:
        Every function's outputs by name.
    """
    values = dict(inputs)
    outputs: dict[str, Any] = {}
    for name in part.functions:
        component = components[name]
        taken = []
        for spec in component.inputs:
            value, axis = values[spec.name], _queries_axis(spec)
            if kept is not None and axis is not None:
                value = value[(slice(None),) * axis + (kept,)]
            taken.append(value)
        given = call(name, taken)
        outputs |= zip((spec.name for spec in component.outputs), given, strict=True)
        values |= outputs
    return outputs


def compare(
    part: Part,
    components: Mapping[str, Component],
    got: Mapping[str, NDArray[Any]],
    reference: Mapping[str, NDArray[Any]],
    kept: NDArray[np.int64] | None,
) -> float:
    """The largest of :func:`max_relative_error` over a part's outputs, NaN if one is.

    Args:
        part, components: what was run.
        got: outputs by name; of kept queries where ``kept`` is given.
        reference: outputs by name, of all queries.
        kept: the queries that ``got`` was made for.
    """
    errors = []
    for name in part.functions:
        for spec in components[name].outputs:
            wanted, axis = reference[spec.name], _queries_axis(spec)
            if kept is not None and axis is not None:
                wanted = wanted[(slice(None),) * axis + (kept,)]
            errors.append(max_relative_error(got[spec.name], wanted))
    # NumPy's maximum, for which NaN is larger than anything.
    return float(np.max(errors, initial=0.0))


def max_relative_error(got: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Largest error over the reference's largest value; of booleans, the share that differs.

    Infinite where shapes differ, NaN where a value is.
    """
    if got.shape != wanted.shape:
        return float("inf")
    if wanted.size == 0:
        return 0.0
    if wanted.dtype == np.bool_:
        return float(np.mean(got != wanted))
    return float(np.abs(got - wanted).max() / max(float(np.abs(wanted).max()), 1e-30))


def save_arrays(folder: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays (and tuples of integers) by name, one file each, for other processes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in arrays.items():
        np.save(folder / f"{name}.npy", np.asarray(value))


def load_arrays(folder: Path) -> dict[str, NDArray[Any]]:
    """The inverse of :func:`save_arrays`, read into memory."""
    return {path.stem: np.load(path) for path in sorted(folder.glob("*.npy"))}


def _queries_axis(spec: TensorSpec) -> int | None:
    """The axis that ranges over the kept queries, if there is one."""
    return next(
        (i for i, d in enumerate(spec.shape) if isinstance(d, Dim) and d.name == "queries"), None
    )
