"""Modules that stand for packages which Meta's ``sam3`` imports and which a picture doesn't need.

Only :mod:`sam3_tvm.sources.meta.environment` puts them in place, and takes them away again.
A name that nobody gave a meaning is an :class:`Absent`: it can be imported, subclassed and used
as a decorator, and says so when something wants to run it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import FunctionType, ModuleType
from typing import Any

import torch

from sam3_tvm.sources.patches import roi_align_of_batch

__all__ = ["PACKAGES", "Absent", "StandIns"]

PACKAGES = {
    "torchvision": "its compiled operators don't load beside a torch of another build",
    "timm": "it imports torchvision; three of its layers are used",
    "triton": "it compiles for GPUs only; used by the tracker's distance transform",
    "decord": "it reads videos",
    "cv2": "it draws, and reads videos",
    "psutil": "it watches the memory of a video server",
}
"""What is stood in for, and why."""


class Absent(type):
    """A class that stands for anything of an absent package."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(f"{cls.__name__}.{name}", (), {})

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and isinstance(args[0], FunctionType) and not kwargs:
            return args[0]  # Used as a decorator, such as triton.jit.
        raise ImportError(f"{cls.__name__} was called, but its package is stood in for")


class Mlp(torch.nn.Module):
    """Two linear layers, as ``timm.layers.Mlp`` with the arguments that SAM 3 gives it.

    Args:
        in_features: width of input and output.
        hidden_features: width in between.
        act_layer: makes the activation.
        drop: rates of dropout, which inference leaves out.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        act_layer: type[torch.nn.Module],
        drop: tuple[float, float],
    ) -> None:
        super().__init__()
        self.fc1 = torch.nn.Linear(in_features, hidden_features)
        self.act = act_layer()
        self.fc2 = torch.nn.Linear(hidden_features, in_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.fc2(self.act(self.fc1(x)))
        return out


class DropPath(torch.nn.Identity):
    """Stochastic depth, which does nothing at inference."""


class _StandIn(ModuleType):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []  # A package: its submodules are stand-ins, too.

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(f"{self.__name__}.{name}", (), {})


def _trunc_normal(tensor: torch.Tensor, std: float) -> torch.Tensor:
    return torch.nn.init.trunc_normal_(tensor, std=std)


_MEANINGS: dict[str, dict[str, Any]] = {
    "timm.layers": {"DropPath": DropPath, "Mlp": Mlp, "trunc_normal_": _trunc_normal},
}


class StandIns(MetaPathFinder, Loader):
    """Finds a stand-in for every module of :data:`PACKAGES`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in PACKAGES:
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = _StandIn(spec.name)
        vars(module).update(_MEANINGS.get(spec.name, {}))
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""

    @staticmethod
    def finish() -> None:
        """Give names their meaning that importing a submodule of the same name took."""
        # `import torchvision.ops.roi_align` makes an attribute of the module `ops`.
        vars(sys.modules["torchvision.ops"])["roi_align"] = roi_align_of_batch
