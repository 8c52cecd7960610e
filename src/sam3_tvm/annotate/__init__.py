"""Annotates collections of pictures, and writes datasets.

A library for a command, a server, a notebook or a job: it prints nothing and asks for nothing.
:func:`annotate` hands on what is found in each picture as it comes, and writes nothing;
:class:`Dataset` keeps it in a folder, goes on after an interruption, and writes formats.
"""

from __future__ import annotations

from sam3_tvm.annotate.classes import Phrase, parse_phrase, read_classes
from sam3_tvm.annotate.cluster import Cluster
from sam3_tvm.annotate.collect import IdWarning, Listed, collect
from sam3_tvm.annotate.dataset import Dataset, check_place, seconds_per_picture
from sam3_tvm.annotate.faults import OtherRun, Refused, Unfinished
from sam3_tvm.annotate.finding import (
    Finder,
    PhraseFinder,
    TiledPhraseFinder,
    load_phrase_finder,
)
from sam3_tvm.annotate.formats import FORMATS, Contents, Format, chosen_formats
from sam3_tvm.annotate.records import AnnotatedObject, AnnotatedPicture, PictureFailure
from sam3_tvm.annotate.run import AT_ONCE, annotate
from sam3_tvm.annotate.usage import Usage, UsageMeter

__all__ = [
    "AT_ONCE",
    "FORMATS",
    "AnnotatedObject",
    "AnnotatedPicture",
    "Cluster",
    "Contents",
    "Dataset",
    "Finder",
    "Format",
    "IdWarning",
    "Listed",
    "OtherRun",
    "Phrase",
    "PhraseFinder",
    "PictureFailure",
    "Refused",
    "TiledPhraseFinder",
    "Unfinished",
    "Usage",
    "UsageMeter",
    "annotate",
    "check_place",
    "chosen_formats",
    "collect",
    "load_phrase_finder",
    "parse_phrase",
    "read_classes",
    "seconds_per_picture",
]
