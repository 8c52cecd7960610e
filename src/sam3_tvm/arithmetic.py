"""In which numbers a function computes: named schemes, one for each function of an artifact.

A scheme is chosen as a function is imported, is its attribute through all passes, decides which
kernels it gets, is named in the manifest, and says what ``verify`` holds the function to.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FLOAT32", "PRECISIONS", "SCHEMES", "Arithmetic", "storing"]


@dataclass(frozen=True)
class Arithmetic:
    """A scheme. Inputs and outputs of functions are float32 in any.

    Attributes:
        name: as manifests spell it.
        weights: dtype in which the weights of linear layers and convolutions are stored. int8 is
            symmetric, with a float32 scale per output channel.
        activations: dtype in which products take what they multiply by weights.
        sums: dtype in which products are added up.
        dot: the instruction that does both, a key of the compiler's table of these.
        exceptions: what of a function is done otherwise, and why.
    """

    name: str
    weights: str
    activations: str = "float32"
    sums: str = "float32"
    dot: str = "fma"
    exceptions: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.weights}, arithmetic in {self.activations}"


_NARROW = (
    "weights that a call brings are float32: they are known too late to be rounded",
    "biases, norms and tables are float32: they are few",
)

FLOAT32 = Arithmetic("float32", "float32")
"""Everything in float32."""

SCHEMES = {
    scheme.name: scheme
    for scheme in (
        FLOAT32,
        Arithmetic("float16-weights", "float16", exceptions=_NARROW),
        Arithmetic("int8-weights", "int8", exceptions=_NARROW),
    )
}
"""All schemes by name, from the finest to the coarsest."""

PRECISIONS = tuple(scheme.weights for scheme in SCHEMES.values())
"""How weights may be stored."""


def storing(weights: str) -> Arithmetic:
    """The scheme whose weights are stored in a precision, one of :data:`PRECISIONS`."""
    return next(scheme for scheme in SCHEMES.values() if scheme.weights == weights)
