"""What is measured: parts of SAM 3's work, each one or several functions of the ABI in a row.

Names of tensors in the ABI are the wiring: a part's functions run in order, each takes what
an earlier one gave under that name, and what none gave is an input of the part. So a part
needs no code of its own, and follows the ABI when that changes. Where a function runs several times
its step says what goes by another name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.bench.exactness import Error, largest, relative_error
from sam3_tvm.components import Component, Dim, TensorSpec
from sam3_tvm.errors import Sam3Error

__all__ = [
    "EIGHT",
    "FILM",
    "KEPT",
    "OBJECTS",
    "PROMPT_ROWS",
    "BenchError",
    "Part",
    "PromptRow",
    "Step",
    "chain",
    "compare",
    "default_parts",
    "external_inputs",
    "kept_queries",
    "load_arrays",
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

FILM = "film"

OBJECTS = 3
"""Objects that are followed in :data:`FILM`."""


class BenchError(Sam3Error):
    """A measurement that can't be made as asked."""


@dataclass(frozen=True)
class Step:
    """A call of a function in a part.

    Attributes:
        function: the component's name.
        takes: of inputs that are taken from another name than their own, that name.
        gives: of outputs that go on by another name than their own, that name.
    """

    function: str
    takes: Mapping[str, str] = field(default_factory=dict)
    gives: Mapping[str, str] = field(default_factory=dict)

    def inputs(self, component: Component) -> list[TensorSpec]:
        """What is taken, by the names that it has in the part."""
        return [replace(s, name=self.takes.get(s.name, s.name)) for s in component.inputs]

    def outputs(self, component: Component) -> list[TensorSpec]:
        """What is given, by the names that it has in the part."""
        return [replace(s, name=self.gives.get(s.name, s.name)) for s in component.outputs]


def chain(*functions: str) -> tuple[Step, ...]:
    """Calls of functions whose tensors keep their names."""
    return tuple(map(Step, functions))


@dataclass(frozen=True)
class Part:
    """Functions that are run and timed together.

    Attributes:
        name: as the command line spells it.
        title: for tables and charts.
        steps: calls of components, in order; none for :data:`EIGHT`, which our runtime's own
            interface runs.
        keeps: whether our engine decodes masks for :data:`KEPT` queries only.
        asked: whether it is measured only where it is named.
    """

    name: str
    title: str
    steps: tuple[Step, ...]
    keeps: bool = False
    asked: bool = False

    @property
    def functions(self) -> tuple[str, ...]:
        """The functions that it calls, in order of their first calls."""
        return tuple(dict.fromkeys(step.function for step in self.steps))


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


_ONE_PROMPT = chain("detr_encoder", "detr_decoder", "scoring", "mask_decoder")


def _object(number: int) -> tuple[Step, ...]:
    """One object on a frame of a film: looked for by what is remembered, decoded, remembered."""

    def own(*names: str) -> dict[str, str]:
        return {name: f"{name}_of_object_{number}" for name in names}

    looked = own("conditioned")
    decoder = own("masks", "iou", "object_logits", "pointers")
    return (
        Step("memory_attention", gives=looked),
        Step("prompt_encoder", gives=own("sparse", "dense")),
        Step(
            "click_decoder",
            takes={"tracker_2": looked["conditioned"], **own("sparse", "dense")},
            gives=decoder,
        ),
        Step("enlarge_masks", gives=own("enlarged")),
        Step("memory_encoder", takes=own("enlarged", "object_logits"), gives=own("memory")),
    )


_PARTS = (
    Part("encode_image", "Encode a picture", chain("vision_encoder")),
    Part("text", "Encode a phrase", chain("text_encoder")),
    Part("one_prompt", "One prompt, after the encoders", _ONE_PROMPT, keeps=True),
    Part("click", "One click, after the encoder", chain("prompt_encoder", "click_decoder")),
    # It takes as long as all others together.
    Part(
        FILM,
        f"A frame of a film, one phrase and {OBJECTS} objects",
        (
            *chain("vision_encoder", "tracker_neck"),
            *_ONE_PROMPT,
            *(step for number in range(OBJECTS) for step in _object(number)),
        ),
        keeps=True,
        asked=True,
    ),
    Part(EIGHT, "Eight prompts on one picture", ()),
)


def _there(components: Mapping[str, Component]) -> list[Part]:
    return [p for p in _PARTS if all(name in components for name in p.functions)]


def default_parts(components: Mapping[str, Component]) -> list[Part]:
    """The parts that make up segmenting a picture by a phrase or a click, as far as there are
    functions for them."""
    return [p for p in _there(components) if not p.asked]


def select_parts(names: Sequence[str] | None, components: Mapping[str, Component]) -> list[Part]:
    """The parts of these names: those of :func:`default_parts`, :data:`FILM`, or single functions.

    Raises:
        BenchError: a name that is none of these.
    """
    if names is None:
        return default_parts(components)
    known = {p.name: p for p in _there(components)}
    # Alone, a function does the same work in every engine: all queries, for one.
    known |= {n: Part(n, n, chain(n)) for n in components if n not in known}
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
    for step in part.steps:
        component = components[step.function]
        for spec in step.inputs(component):
            if spec.name not in made:
                taken.setdefault(spec.name, spec)
        made |= {spec.name for spec in step.outputs(component)}
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
    for step in part.steps:
        component = components[step.function]
        taken = []
        for spec in step.inputs(component):
            value, axis = values[spec.name], _queries_axis(spec)
            if kept is not None and axis is not None:
                value = value[(slice(None),) * axis + (kept,)]
            taken.append(value)
        given = call(step.function, taken)
        named = zip((spec.name for spec in step.outputs(component)), given, strict=True)
        outputs |= named
        values |= outputs
    return outputs


def compare(
    part: Part,
    components: Mapping[str, Component],
    got: Mapping[str, NDArray[Any]],
    reference: Mapping[str, NDArray[Any]],
    kept: NDArray[np.int64] | None,
) -> Error:
    """The largest error of a part's outputs.

    Args:
        part, components: what was run.
        got: outputs by name; of kept queries where ``kept`` is given.
        reference: outputs by name, of all queries.
        kept: the queries that ``got`` was made for.
    """
    errors = []
    for step in part.steps:
        for spec in step.outputs(components[step.function]):
            wanted, axis = reference[spec.name], _queries_axis(spec)
            if kept is not None and axis is not None:
                wanted = wanted[(slice(None),) * axis + (kept,)]
            errors.append(relative_error(got[spec.name], wanted))
    return largest(errors)


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
