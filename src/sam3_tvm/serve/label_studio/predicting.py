"""Predictions: pictures of tasks are encoded once, and then asked about."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from importlib import metadata
from pathlib import PurePath
from typing import Any

from sam3_tvm.errors import Sam3Error, UsageError
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

# What another task may well not have.
_TASKS_OWN = frozenset({404, 413, 422, 502})

_log = logging.getLogger(__name__)


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
) -> list[dict[str, Any] | list[Any]]:
    """A prediction for each task; of several tasks, one that fails has none, an empty list.

    Label Studio tells nobody what is wrong with a request, and drops the predictions of all its
    tasks: both are told on the terminal.

    Args:
        service: with the model.
        sources: of pictures.
        label_config: the project's, XML.
        tasks: number and data of each.
        context: what a labeller has drawn.

    Raises:
        Problem: too many labels, or a single task whose picture cannot be had.
        UsageError: a configuration that cannot be used.
    """
    try:
        model, interface = service.model, config.parse(label_config)
        _check(interface, service.limits.prompts)
        made: list[dict[str, Any] | list[Any]] = []
        for number, data in tasks:
            try:
                regions = await _regions(service, sources, interface, data, context)
            except (Sam3Error, Problem) as error:
                problem = as_problem(error)
                told = Problem(
                    problem.status_code, f"task {number}: {problem.detail}", headers=problem.headers
                )
                if len(tasks) == 1 or problem.status_code not in _TASKS_OWN:
                    raise told from error
                _log.warning("Label Studio: %s", told.detail)
                made.append([])
                continue
            scores = [one["score"] for one in regions]
            score = sum(scores) / len(scores) if scores else 0.0
            made.append({"result": regions, "score": score, "model_version": version(model)})
    except (Sam3Error, Problem) as error:
        _log.warning("Label Studio: %s", as_problem(error).detail)
        raise
    return made


def _check(interface: Interface, most: int) -> None:
    count = sum(len(label.phrases) for _, label in interface.wanted())
    if count > most:
        raise Problem(
            422, f"the configuration's labels are {count} phrases: at most {most} are taken"
        )


async def _regions(
    service: Service,
    sources: Sources,
    interface: Interface,
    data: dict[str, Any],
    context: dict[str, Any] | None,
) -> _Regions:
    regions = None if context is None else context.get("result")
    if regions == []:
        return []  # all was taken away again
    stored = await _encoded(service, sources, data.get(interface.key))
    drawn = None
    if regions is not None:
        drawn = prompts.read(regions, stored.encoded.size)
    return await _asked(service, interface, stored, drawn)


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
        kind, call = Kind.PROMPT, lambda: _all_labels(model, interface, stored)
    elif drawn.text is not None:
        kind, call = Kind.PROMPT, lambda: _typed(model, interface, stored, drawn)
    else:
        kind, call = Kind.CLICK, lambda: _clicked(model, interface, stored, drawn)
    with service.turns.place(kind):
        return await service.turns.run(kind, call)


def _all_labels(model: Model, interface: Interface, stored: Stored) -> _Regions:
    """What each label's phrases find."""
    wanted = [(c, label, phrase) for c, label in interface.wanted() for phrase in label.phrases]
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
