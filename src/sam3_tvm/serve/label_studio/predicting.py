"""Predictions: pictures of tasks are encoded once, and then asked about."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib import metadata
from pathlib import PurePath
from typing import Any

from sam3_tvm.errors import UsageError
from sam3_tvm.labels.label_studio import config, prompts
from sam3_tvm.labels.label_studio.config import Interface
from sam3_tvm.labels.label_studio.prompts import Drawn
from sam3_tvm.labels.label_studio.regions import mask_regions
from sam3_tvm.runtime import Model
from sam3_tvm.serve.label_studio.sources import Sources
from sam3_tvm.serve.problems import Problem, as_problem
from sam3_tvm.serve.service import Service
from sam3_tvm.serve.store import Stored
from sam3_tvm.serve.turns import Kind

__all__ = ["predicted", "version"]

_Regions = list[dict[str, Any]]


def version(model: Model) -> str:
    """What Label Studio keeps with predictions, and skips tasks by that have one."""
    name = PurePath(model.manifest.source.checkpoint).name
    return f"{name} by sam3-tvm {metadata.version('sam3-tvm')}"


async def predicted(
    service: Service,
    sources: Sources,
    label_config: str,
    tasks: Sequence[tuple[int | None, dict[str, Any]]],
    context: dict[str, Any] | None,
) -> list[dict[str, Any]]:
    """A prediction for each task.

    Args:
        service: with the model.
        sources: of pictures.
        label_config: the project's, XML.
        tasks: number and data of each.
        context: what a labeller has drawn.

    Raises:
        Problem: a task whose picture cannot be had; the line names the task.
        UsageError: a configuration, or a context, that cannot be used.
    """
    model, interface = service.model, config.parse(label_config)
    made = []
    for number, data in tasks:
        try:
            stored = await _encoded(service, sources, data.get(interface.key))
            drawn = None
            if context is not None and isinstance(context.get("result"), list):
                drawn = prompts.read(context["result"], stored.encoded.size)
            regions = await _asked(service, interface, stored, drawn)
        except Exception as error:
            problem = as_problem(error)
            if problem.status_code >= 500 and not isinstance(error, Problem):
                raise  # a fault of ours keeps its traceback
            raise Problem(
                problem.status_code, f"task {number}: {problem.detail}", headers=problem.headers
            ) from error
        scores = [one["score"] for one in regions]
        score = sum(scores) / len(scores) if scores else 0.0
        made.append({"result": regions, "score": score, "model_version": version(model)})
    return made


async def _encoded(service: Service, sources: Sources, name: object) -> Stored:
    if not isinstance(name, str) or not name:
        raise UsageError("it has no picture under the name of the configuration's Image tag")
    with service.turns.place(Kind.PICTURE):
        most = service.limits.picture_bytes
        data = await asyncio.to_thread(sources.read, name, most)
        stored, _ = await service.encodings.encode(data)
    return stored


async def _asked(
    service: Service, interface: Interface, stored: Stored, drawn: Drawn | None
) -> _Regions:
    model = service.model
    if drawn is None:
        kind, call = Kind.PROMPT, lambda: _all_labels(model, interface, stored, service)
    elif drawn.text is not None:
        kind, call = Kind.PROMPT, lambda: _typed(model, interface, stored, drawn)
    else:
        kind, call = Kind.CLICK, lambda: _clicked(model, interface, stored, drawn)
    with service.turns.place(kind):
        return await service.turns.run(kind, call)


def _all_labels(model: Model, interface: Interface, stored: Stored, service: Service) -> _Regions:
    """What each label's phrases find."""
    wanted = [(c, label, phrase) for c, label in interface.wanted() for phrase in label.phrases]
    if len(wanted) > service.limits.prompts:
        raise Problem(
            422,
            f"the configuration's labels are {len(wanted)} phrases: at most "
            f"{service.limits.prompts} are taken",
        )
    threshold = min(control.threshold for control, _, _ in wanted)
    phrases = [phrase for _, _, phrase in wanted]
    regions: _Regions = []
    for (control, label, _), result in zip(
        wanted, model.segment(stored.encoded, phrases, threshold=threshold), strict=True
    ):
        for one in result[result.scores > control.threshold]:
            regions += mask_regions(
                one.masks[0],
                one.boxes[0],
                float(one.scores[0]),
                label.value,
                control,
                interface.image,
            )
    return regions


def _typed(model: Model, interface: Interface, stored: Stored, drawn: Drawn) -> _Regions:
    """What a text names; boxes are examples of it."""
    assert drawn.text is not None
    control, label = interface.control_of(drawn.label or interface.label_of(drawn.text))
    result = model.segment(
        stored.encoded, drawn.text, drawn.boxes or None, threshold=control.threshold
    )
    regions: _Regions = []
    for one in result:
        regions += mask_regions(
            one.masks[0], one.boxes[0], float(one.scores[0]), label, control, interface.image
        )
    return regions


def _clicked(model: Model, interface: Interface, stored: Stored, drawn: Drawn) -> _Regions:
    """The object that is clicked; of several boxes the latest counts."""
    control, label = interface.control_of(drawn.label)
    result = model.click(
        stored.encoded,
        drawn.points or None,
        drawn.point_labels or None,
        drawn.boxes[-1] if drawn.boxes else None,
    )
    assert not isinstance(result, list), "one object was asked for"
    mask, score = result.masks[result.best], float(result.iou[result.best])
    return mask_regions(mask, None, score, label, control, interface.image)
