"""All that lets Meta's ``sam3`` be imported and run here, applied and undone as a whole.

Lesson 8, for the second source: inside :func:`meta_environment` the package can be imported, built
and run on a CPU; outside, ``sys.modules`` and torch are as they were. The package on disk isn't
touched, and its modules are kept aside between uses, so that its classes stay the same.

What is replaced, and why:

- packages that aren't needed for pictures, or don't load here: see :mod:`.stand_ins`. They are
  there while the package is imported, and no longer;
- ``device="cuda"``, ``.cuda()`` and ``.pin_memory()``: written into the package's constructors and
  its geometry encoder. A torch function mode reads "cpu" for "cuda" and pins nothing;
- ``len(x) == len(y)`` of tensors: Python's ``len`` is a plain number, and would fix a length that
  is to vary, at export. The mode hands out the example's, which nothing but assertions reads;
- ``boxes.unbind(0)``: would fix the batch size at export; see :mod:`sam3_tvm.sources.patches`;
- what importing the package leaves in the process: the environment variable
  ``TOKENIZERS_PARALLELISM`` and, beside a CUDA device, TF32. Both are put back.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from sam3_tvm.sources.base import Licence, SourceError, read_licence
from sam3_tvm.sources.meta.stand_ins import PACKAGES, StandIns
from sam3_tvm.sources.patches import KeepBoxesWhole, PatchScope

__all__ = [
    "PACKAGE",
    "TESTED_VERSION",
    "installed_licence",
    "installed_version",
    "meta_environment",
]

PACKAGE = "sam3"
TESTED_VERSION = "0.1.4"

_INSTALL = (
    f"pip install 'sam3-tvm[compile,meta]' && pip install --no-deps {PACKAGE}=={TESTED_VERSION}"
)


def installed_version() -> str | None:
    """The version of the ``sam3`` package that is installed, or None."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return None


def installed_licence() -> Licence | None:
    """The licence that comes with the ``sam3`` package, which is that of the weights, too."""
    try:
        listed = files(PACKAGE) or []
    except PackageNotFoundError:
        return None
    for entry in listed:
        if entry.name.startswith("LICENSE"):
            return read_licence(Path(str(entry.locate())).parent)
    return None


def _on_cpu(value: Any) -> Any:
    if isinstance(value, str) and value.partition(":")[0] == "cuda":
        return "cpu"
    if isinstance(value, torch.device) and value.type == "cuda":
        return torch.device("cpu")
    return value


class _Traceable(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in (torch.Tensor.pin_memory, torch.Tensor.cuda):
            return args[0]
        if func is torch.Tensor.__len__ and isinstance(args[0].shape[0], torch.SymInt):
            return args[0].shape[0].node.hint
        named = {name: _on_cpu(value) for name, value in (kwargs or {}).items()}
        return func(*map(_on_cpu, args), **named)


_kept: dict[str, ModuleType] = {}
"""The package's modules, while they aren't in ``sys.modules``."""


def _take(packages: Container[str]) -> dict[str, ModuleType]:
    """Remove the modules of some packages from ``sys.modules``, and return them."""
    names = [name for name in sys.modules if name.partition(".")[0] in packages]
    return {name: sys.modules.pop(name) for name in names}


@contextmanager
def _package() -> Iterator[None]:
    """``sam3`` in ``sys.modules``, imported among stand-ins if this is its first use."""
    before = _take({PACKAGE})
    sys.modules.update(_kept or _import())
    try:
        yield
    finally:
        _kept.update(_take({PACKAGE}))
        sys.modules.update(before)


def _import() -> dict[str, ModuleType]:
    # Stand-ins are there for this import only: others, such as torch, ask what is installed.
    before = _take(PACKAGES)
    finder = StandIns()
    parallelism = os.environ.get("TOKENIZERS_PARALLELISM")
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    sys.meta_path.insert(0, finder)
    try:
        with warnings.catch_warnings():
            # Decorators of the video model ask for autocast on CUDA.
            warnings.filterwarnings("ignore", message=".*Disabling autocast", category=UserWarning)
            importlib.import_module(f"{PACKAGE}.model_builder")
        finder.finish()
    except ModuleNotFoundError as error:
        root = (error.name or "").partition(".")[0]
        what = f"Meta's package {PACKAGE}" if root == PACKAGE else f"{root}, for Meta's {PACKAGE},"
        raise SourceError(f"{what} is not installed: {_INSTALL}") from error
    finally:
        sys.meta_path.remove(finder)
        _take(PACKAGES)
        sys.modules.update(before)
        imported = _take({PACKAGE})
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
        os.environ.pop("TOKENIZERS_PARALLELISM", None)
        if parallelism is not None:
            os.environ["TOKENIZERS_PARALLELISM"] = parallelism
    return imported


_scope = PatchScope()


@contextmanager
def meta_environment() -> Iterator[None]:
    """Run the body where ``sam3`` can be imported, built, run and exported on the CPU, as a
    :class:`~sam3_tvm.sources.patches.PatchScope`.

    Raises:
        SourceError: the package, or one that it needs, isn't installed.
    """

    def replace(stack: ExitStack) -> None:
        stack.enter_context(_package())
        stack.enter_context(_Traceable())
        stack.enter_context(KeepBoxesWhole())

    with _scope.entered(replace):
        yield
