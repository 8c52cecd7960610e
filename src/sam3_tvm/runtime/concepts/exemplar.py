"""An example that is good for other pictures than its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.runtime.concepts.views import VIEWS
from sam3_tvm.runtime.pictures.arguments import PromptError, brief
from sam3_tvm.runtime.pictures.saved import check_made_by, opened_tensors, save_tensors
from sam3_tvm.runtime.pictures.values import PlainValue

__all__ = ["Exemplar", "Like", "Tokens", "checked_exemplars", "checked_name"]

#: Tokens of a prompt, float32 [B, N, D], and which of them count, bool [B, N].
Tokens = tuple[NDArray[np.float32], NDArray[np.bool_]]

_KIND = "sam3-tvm exemplar"

# How names of arrays of a view begin in a file.
_VIEW = "view_{}."


@dataclass(frozen=True, repr=False, eq=False)
class Exemplar(PlainValue):
    """Boxes on a picture, as a prompt for any other; :meth:`Model.exemplar` makes one.

    Plain data, a few megabytes for each view at SAM 3's size: it can be pickled, and goes to other
    processes.

    Attributes:
        boxes: float32 [N, 4], centre x, centre y, width, height as fractions of the picture.
        labels: int64 [N], 1 for a box around an example, 0 for one around what is not meant.
        tokens: what the geometry encoder makes of the boxes on their picture, float32
            [1, N + 1, D], and which of the tokens count, bool [1, N + 1].
        meant: the same of the boxes around examples alone; None if there are none.
        own: float32 [N], the score that each box gets when what is meant is looked for on the
            picture itself: what other pictures are measured by. All 0 if nothing is meant.
        features: what the detector needs of the picture, by name, to look for what was found
            elsewhere; see :mod:`sam3_tvm.runtime.concepts.likeness`.
        fingerprint: of the artifact that made it, the only one that can use it.
        digest: of what the detector sees of the picture, the boxes and their labels: of equal
            examples the same.
        name: what to call what it finds; None for the model's own word for examples.
        views: the boxes around examples on other views of the picture, an example each; see
            :mod:`sam3_tvm.runtime.concepts.views`.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    tokens: Tokens
    meant: Tokens | None
    own: NDArray[np.float32]
    features: Mapping[str, NDArray[Any]]
    fingerprint: str
    digest: str
    name: str | None = None
    views: tuple[Exemplar, ...] = ()

    def __repr__(self) -> str:
        meant = int(self.labels.sum())
        unmeant = len(self.labels) - meant
        negative = f", {unmeant} of what is not meant" if unmeant else ""
        name = "" if self.name is None else f"{self.name!r}: "
        return f"Exemplar({name}{meant} box{'' if meant == 1 else 'es'}{negative})"

    def named(self, name: str | None) -> Exemplar:
        """The same, to be called otherwise.

        Raises:
            PromptError: a name that is no text, or empty.
        """
        return replace(self, name=checked_name(name))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a safetensors file; :meth:`Model.load_exemplar` reads it back bit for bit.

        Raises:
            ImageError: a path that cannot be written.
        """
        arrays = self._arrays()
        about = {"kind": _KIND, "artifact": self.fingerprint, "digest": self.digest}
        for number, view in enumerate(self.views):
            at = _VIEW.format(number)
            arrays |= {at + name: array for name, array in view._arrays().items()}
            about[f"{at}digest"] = view.digest
        if self.name is not None:
            about["name"] = self.name
        save_tensors(path, arrays, about)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """Its own, by the names that they have in a file."""
        arrays: dict[str, NDArray[Any]] = {
            "boxes": self.boxes,
            "labels": self.labels,
            "own": self.own,
        }
        arrays["tokens"], arrays["mask"] = self.tokens
        if self.meant is not None:
            arrays["meant"], arrays["meant_mask"] = self.meant
        return arrays | {f"features.{name}": array for name, array in self.features.items()}

    @classmethod
    def load(cls, path: str | os.PathLike[str], fingerprint: str, names: Sequence[str]) -> Exemplar:
        """Read what :meth:`save` wrote.

        Args:
            path: the file.
            fingerprint: of the artifact that is to use it.
            names: of the features that it needs.

        Raises:
            ImageError: no such file, another kind of file, or one that another artifact made.
        """
        with opened_tensors(path, _KIND, "exemplar", "Exemplar.save") as (about, read):
            check_made_by(about["artifact"], fingerprint, os.fsdecode(path))

            def one(at: str) -> Exemplar:
                labels = read(f"{at}labels")
                return cls(
                    read(f"{at}boxes"),
                    labels,
                    (read(f"{at}tokens"), read(f"{at}mask")),
                    (read(f"{at}meant"), read(f"{at}meant_mask")) if labels.any() else None,
                    read(f"{at}own"),
                    {name: read(f"{at}features.{name}") for name in names},
                    about["artifact"],
                    about[f"{at}digest"],
                )

            places = map(_VIEW.format, range(VIEWS))
            views = tuple(one(at) for at in places if f"{at}digest" in about)
            return replace(one(""), name=about.get("name"), views=views)

    def check_made_by(self, fingerprint: str) -> None:
        """Refuse another artifact's: its tokens would mean nothing.

        Raises:
            PromptError: another artifact, or another version of it, made it.
        """
        if self.fingerprint != fingerprint:
            raise PromptError(
                f"like: this exemplar was made with another artifact ({self.fingerprint[:12]}, "
                f"this one is {fingerprint[:12]}); make it again with this one"
            )


Like = Exemplar | Sequence[Exemplar | Sequence[Exemplar] | None] | None
"""Examples on other pictures, as :meth:`Model.segment` takes them."""


def checked_name(name: Any) -> str | None:
    """A name, or None.

    Raises:
        PromptError: no text, or empty.
    """
    if name is not None and not (isinstance(name, str) and name.strip()):
        raise PromptError(f"an exemplar's name is text, or None, not {brief(name)}")
    return name


def checked_exemplars(
    like: Any, phrases: int, several: bool, fingerprint: str
) -> list[tuple[Exemplar, ...]]:
    """The exemplars of each phrase.

    Args:
        like: one, or a list of them, for all phrases; or a list with one, a list of them, or
            None for each phrase. None for none.
        phrases: how many there are.
        several: whether phrases came as a list.
        fingerprint: of the artifact that is to use them.

    Raises:
        PromptError: something else, or another artifact's.
    """
    if like is None:
        return [()] * phrases
    if isinstance(like, Exemplar):
        like = [like]
    if not isinstance(like, list | tuple):
        raise PromptError(f"like takes what model.exemplar() made, not {brief(like)}")
    if several and any(one is None or isinstance(one, list | tuple) for one in like):
        if len(like) != phrases:
            raise PromptError(
                f"like has {len(like)} entries for {phrases} phrases: give one for each"
            )
        each = [
            () if one is None else (one,) if isinstance(one, Exemplar) else (*one,) for one in like
        ]
    else:
        each = [(*like,)] * phrases
    for one in (one for row in each for one in row):
        if not isinstance(one, Exemplar):
            raise PromptError(f"like takes what model.exemplar() made, not {brief(one)}")
        one.check_made_by(fingerprint)
    return each
