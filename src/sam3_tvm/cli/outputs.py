"""Where results of pictures go, as ``-o`` says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sam3_tvm.errors import UsageError
from sam3_tvm.files import output_folder

if TYPE_CHECKING:
    from sam3_tvm.batch.outputs import Output

__all__ = ["opened_outputs"]


@contextmanager
def opened_outputs(
    paths: Sequence[Path],
    pictures: Sequence[Path],
    texts: Sequence[str],
    overlay: bool,
    *,
    resume: bool = False,
    first: int = 1,
    tiled: bool = False,
) -> Iterator[list[Output]]:
    """The outputs, refused before the work begins; folders that stay empty go again.

    Args:
        paths: as ``-o`` gave them.
        pictures: that are read, and not to be written over.
        texts: phrases; folders name pictures by them where there are several.
        overlay: whether folders of overlays are written.
        resume: whether what is there is to be gone on with.
        first: the number of a picture's first mask.
        tiled: whether pictures are looked at tile by tile.

    Raises:
        UsageError: an output that cannot be written.
    """
    from sam3_tvm.batch.opening import check_places, form_of, make_output, refuse_mixed_masks

    check_places(paths, pictures)
    forms = [(form_of(path), path) for path in paths]
    for form, path in forms:
        if form == "picture" and not overlay:
            raise UsageError(f"-o {path} and --no-overlay: give one of them")
        if form == "outlines" and (not tiled or len(pictures) > 1):
            raise UsageError(
                f"-o {path}: outlines are written of one picture, with segment --tile; of "
                "collections by annotate --format geojson"
            )
        if form == "masks" and tiled:
            raise UsageError(
                f"-o {path}: masks of a picture in tiles aren't written as PNG, which would each "
                "be as large as it; give NAME.jsonl or NAME.geojson"
            )
    # A line says that a picture is whole, so lines come last.
    forms.sort(key=lambda one: one[0] == "lines")
    with ExitStack() as stack:
        outputs = []
        for form, path in forms:
            if form == "overlays" and not overlay:
                continue
            folder = None
            if form in ("overlays", "masks"):
                folder = stack.enter_context(output_folder(path, pictures, "-o"))
                assert folder is not None, "there is a path"
            if form == "masks" and folder is not None and not resume:
                refuse_mixed_masks(folder, pictures, texts)
            phrases = max(1, len(texts))
            outputs.append(make_output(form, path, folder, len(pictures), phrases, first))
        yield outputs
