"""A look at the headers of pictures before hours of work: is each one, and of the size stated?"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import ExifTags, Image

from sam3_tvm.evaluate.dataset import Dataset, DatasetError
from sam3_tvm.progress import Progress, silent

__all__ = ["check_headers"]

# Orientations by which a picture lies on its side.
_TURNED = range(5, 9)


def check_headers(dataset: Dataset, progress: Progress = silent) -> None:
    """Refuse a dataset with pictures that can't be measured, as far as headers tell.

    Raises:
        DatasetError: a file that is no picture or of another size than the annotations say. The
            first is named, and how many more there are.
    """
    with warnings.catch_warnings():
        # Large pictures are fine; of larger ones Pillow makes an error.
        warnings.simplefilter("ignore")
        faults = list(_faults(dataset, progress))
    if faults:
        more = f"; so are {len(faults) - 1} more" if len(faults) > 1 else ""
        raise DatasetError(f"{faults[0]}{more}; mend them, or take them out of the annotations")


def _faults(dataset: Dataset, progress: Progress) -> Iterator[str]:
    total = len(dataset.pictures)
    for done, picture in enumerate(dataset.pictures):
        progress("checking pictures", done, total)
        try:
            sizes = _sizes(picture.path)
        except Exception as error:  # what Pillow's decoders raise of a file is of any class
            reason = getattr(error, "strerror", None) or error
            yield f"{picture.path}: cannot be read ({reason})"
            continue
        height, width = picture.size
        if (width, height) not in sizes:
            w, h = sizes[0]
            yield (
                f"{picture.path}: is {w} x {h} pixels, {dataset.annotations} says {width} x "
                f"{height}"
            )


def _sizes(path: Path) -> list[tuple[int, int]]:
    """Width and height as they are stored, and of a picture that may lie on its side also turned.

    TIFF's plugin gives some pictures turned already, and a PNG may say after its pixels, which are
    not read here, how it lies.
    """
    with Image.open(path) as image:
        width, height = image.size
        late = image.format == "PNG" and "exif" not in image.info
        turned = late or image.getexif().get(ExifTags.Base.Orientation, 1) in _TURNED
        return [(width, height), (height, width)] if turned else [(width, height)]
