"""SAM 3 compiled with Apache TVM.

>>> import sam3_tvm
>>> model = sam3_tvm.load("sam3-cpu/")
>>> result = model.segment("photo.jpg", text="dog")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sam3_tvm.errors import MissingExtraError, Sam3Error

if TYPE_CHECKING:
    from sam3_tvm.compiler import compile
    from sam3_tvm.runtime import (
        ClickResult,
        EncodedImage,
        Exemplar,
        FrameResult,
        Model,
        PhraseWarning,
        Result,
        TrackSession,
        giving_way,
        load,
    )

    __version__: str

__all__ = [
    "ClickResult",
    "EncodedImage",
    "Exemplar",
    "FrameResult",
    "MissingExtraError",
    "Model",
    "PhraseWarning",
    "Result",
    "Sam3Error",
    "TrackSession",
    "__version__",
    "compile",
    "giving_way",
    "load",
]

_RUNTIME = (
    "ClickResult",
    "EncodedImage",
    "Exemplar",
    "FrameResult",
    "Model",
    "PhraseWarning",
    "Result",
    "TrackSession",
    "giving_way",
    "load",
)


def __getattr__(name: str) -> Any:
    # On first use, so that importing the package costs nothing, and running artifacts doesn't
    # need what compiling them does.
    if name == "__version__":
        from importlib.metadata import version

        return version("sam3-tvm")
    if name in _RUNTIME:
        import sam3_tvm.runtime

        return getattr(sam3_tvm.runtime, name)
    if name == "compile":
        from sam3_tvm.extras import missing

        if lacking := missing("compile"):
            raise MissingExtraError(
                f"compiling needs {', '.join(lacking)}, which this installation lacks: "
                "pip install 'sam3-tvm[compile]'"
            )
        from sam3_tvm.compiler import compile as compile_

        return compile_
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
