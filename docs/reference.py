"""The API reference, made from the docstrings: ``python docs/reference.py out/docs``.

:data:`MODULES` are the public ones; what a module's ``__all__`` doesn't name is not shown.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from inspect import isclass, isfunction
from pathlib import Path

MODULES = (
    "sam3_tvm",
    "sam3_tvm.runtime",
    "sam3_tvm.runtime.pictures.image",
    "sam3_tvm.runtime.video.frames",
    "sam3_tvm.runtime.video.open",
    "sam3_tvm.film",
    "sam3_tvm.film.run",
    "sam3_tvm.film.passage",
    "sam3_tvm.film.checkpoint",
    "sam3_tvm.film.faults",
    "sam3_tvm.film.frame",
    "sam3_tvm.film.tally",
    "sam3_tvm.film.outputs.base",
    "sam3_tvm.film.outputs.opening",
    "sam3_tvm.annotate",
    "sam3_tvm.importer",
    "sam3_tvm.compiler",
    "sam3_tvm.compiler.targets.cpu",
    "sam3_tvm.sources",
    "sam3_tvm.sources.base",
    "sam3_tvm.sources.convert",
    "sam3_tvm.verify",
    "sam3_tvm.evaluate",
    "sam3_tvm.bench",
    "sam3_tvm.tune",
    "sam3_tvm.abi",
    "sam3_tvm.components",
    "sam3_tvm.values",
    "sam3_tvm.rules",
    "sam3_tvm.arithmetic",
    "sam3_tvm.artifact",
    "sam3_tvm.manifest",
    "sam3_tvm.weights",
    "sam3_tvm.errors",
    "sam3_tvm.progress",
    "sam3_tvm.host",
    "sam3_tvm.machine",
)


def public_objects() -> dict[str, object]:
    """Every module of :data:`MODULES`, every class and function that one of them names in its
    ``__all__``, and every public method and property that such a class defines; by name."""
    found: dict[str, object] = {}
    for module in map(import_module, MODULES):
        found[module.__name__] = module
        for name in getattr(module, "__all__", ()):
            item = getattr(module, name)
            if not (isclass(item) or isfunction(item)):
                continue
            found[f"{module.__name__}.{name}"] = item
            for key, value in vars(item).items() if isclass(item) else ():
                member = getattr(value, "__func__", getattr(value, "fget", value))
                if not key.startswith("_") and isfunction(member):
                    found[f"{module.__name__}.{name}.{key}"] = member
    return found


def main(folder: Path, modules: Sequence[str] = MODULES) -> None:
    """Write the reference: a page for each module, and ``index.html``, which lists them."""
    import pdoc

    # Names that a module looks up on first use are shown only where they are in place.
    for module in map(import_module, modules):
        for name in getattr(module, "__all__", ()):
            setattr(module, name, getattr(module, name))
    pdoc.render.configure(
        docformat="google", template_directory=Path(__file__).parent / "templates"
    )
    with warnings.catch_warnings():
        # A package without __all__ brings what is below it, so modules may be named twice.
        warnings.filterwarnings("ignore", "The module specification")
        public = "|".join(name.replace(".", r"\.") for name in modules)
        pdoc.pdoc(*modules, rf"!(?!(?:{public})$)", output_directory=folder)
    print(f"{folder / 'index.html'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
