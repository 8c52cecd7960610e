"""In which numbers a function computes: named schemes, one for each function of an artifact.

A scheme is chosen as a function is imported, is its attribute through all passes, decides which
kernels it gets, is named in the manifest, and says what ``verify`` holds the function to.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = [
    "BFLOAT16",
    "BFLOAT16_FEATURES",
    "COMPUTES",
    "FLOAT32",
    "INT8",
    "PRECISIONS",
    "SCHEMES",
    "Arithmetic",
    "scheme",
    "storing",
]


_FEWEST_OUTPUTS = 32
_FEWEST_INPUTS = 16
_FEWEST_BYTES = 64
_FEWEST_ROWS = 256
_FEWEST_POSITIONS = 32


@dataclass(frozen=True)
class Arithmetic:
    """A scheme. Inputs and outputs of functions are float32 in any.

    Attributes:
        name: as manifests spell it.
        weights: dtype in which the weights of linear layers and convolutions are stored. int8 is
            symmetric, with a float32 scale per output channel. See :meth:`of_table`, too.
        activations: dtype in which products take what they multiply by weights; float32 on CPUs
            that have no instruction for it.
        sums: dtype in which products are added up.
        dot: the instruction that does both, a key of the compiler's table of these.
        exceptions: what of a function is done otherwise, and why.
        rest: the name of the scheme for all but linear layers, and for the functions that aren't
            among ``functions``; None for the same.
        functions: the functions that are worth it; None for all.
        others: functions that have another scheme, each with its name.
        tokens: the name of the scheme of attention and of layers with few rows; None for the same.
    """

    name: str
    weights: str
    activations: str = "float32"
    sums: str = "float32"
    dot: str = "fma"
    exceptions: tuple[str, ...] = ()
    rest: str | None = None
    functions: frozenset[str] | None = None
    others: tuple[tuple[str, str], ...] = ()
    tokens: str | None = None

    def of_function(self, name: str) -> Arithmetic:
        """The scheme of a function of an artifact that is compiled by this one."""
        if self.rest is not None and self.functions is not None and name not in self.functions:
            return SCHEMES[self.rest].of_function(name)
        own = dict(self.others).get(name)
        return self if own is None else SCHEMES[own]

    def of_layer(self, outputs: int, inputs: int, rows: int) -> Arithmetic:
        """The part of its function's scheme that a linear layer computes by.

        What few outputs say (a box, a score, which of three masks) is what a user sees, and few
        inputs (a point, a box) are what a user meant; both cost next to nothing in float32. An odd
        number of inputs is no pairs.

        Args:
            outputs, inputs: of the layer.
            rows: how many it has whatever a call brings: its fixed sizes multiplied, at least 1.
        """
        if self.sums == "int32" and min(outputs, inputs) >= _FEWEST_BYTES:
            return self
        if self.tokens is not None and rows < _FEWEST_POSITIONS:
            return SCHEMES[self.tokens]
        odd_or_few = inputs % 2 or inputs < _FEWEST_INPUTS
        if self.besides.activations == "bfloat16" and odd_or_few:
            return FLOAT32
        return self.of_convolution(outputs)

    def of_convolution(self, outputs: int) -> Arithmetic:
        """The part of its function's scheme that a convolution computes by: by the same rule."""
        rest = self.besides
        few = rest.activations == "bfloat16" and outputs < _FEWEST_OUTPUTS
        return FLOAT32 if few else rest

    @property
    def of_attention(self) -> Arithmetic:
        """The part of its function's scheme that attention computes by."""
        return self.besides if self.tokens is None else SCHEMES[self.tokens]

    def of_table(self, rows: int, columns: int) -> str:
        """The precision of a table that rows are looked up in: that of weights, but no int8, whose
        steps would be as wide as a row's largest value asks for. Small ones are float32, and those
        of few columns, which may be places in a picture."""
        if rows < _FEWEST_ROWS or columns < _FEWEST_BYTES:
            return "float32"
        return "bfloat16" if self.besides.weights == "int8" else self.besides.weights

    @property
    def besides(self) -> Arithmetic:
        """The scheme of convolutions and attention, and of layers that it excepts."""
        return self if self.rest is None else SCHEMES[self.rest]

    def __str__(self) -> str:
        return f"{self.weights}, arithmetic in {self.activations}"


_NARROW = (
    "weights that a call brings are float32: they are known too late to be rounded",
    "biases, norms and tables are float32: they are few; the table of tokens is as weights are, "
    "and bfloat16 beside int8",
)

FLOAT32 = Arithmetic("float32", "float32")
"""Everything in float32."""

BFLOAT16 = Arithmetic(
    "bfloat16",
    "bfloat16",
    "bfloat16",
    dot="bfloat16",
    exceptions=(
        *_NARROW,
        "inputs, outputs and what goes from block to block are float32: sums of many layers; what "
        "layers alone read of a layer, an attention or a norm, and attentions alone of a layer, is "
        "rounded where it is written",
        "norms, softmax, activations and rotary positions are float32: they are few operations",
        "layers and convolutions with fewer than 32 outputs are float32: boxes and scores",
        "layers with fewer than 16 inputs are float32: coordinates of points and boxes, which "
        "bfloat16 would move by up to 0.2 % of the picture",
        "products of two activations outside attention are float32: the last of a mask",
        "convolutions of larger filters than 1 x 1 multiply and add in float32, but for those over "
        "a doubled picture and, where the CPU has a matrix unit, those of whole tiles: most by "
        "Winograd's algorithm, which saves more; their weights are bfloat16",
    ),
    others=(("click_decoder", "bfloat16-features"),),
)
"""Products of bfloat16, added up in float32."""

BFLOAT16_FEATURES = replace(
    BFLOAT16,
    name="bfloat16-features",
    exceptions=(
        *BFLOAT16.exceptions,
        "attention, and layers over tokens alone, are float32: a click's few tokens cost next to "
        "nothing, and what is rounded there comes back enlarged: most of the error in the logit "
        "that says whether there is an object",
    ),
    others=(),
    tokens="float32",
)
"""The same of a picture's features only: of the function that decodes clicks."""

INT8 = Arithmetic(
    "int8",
    "int8",
    "int8",
    sums="int32",
    dot="int8",
    exceptions=(
        *_NARROW,
        "layers with fewer than 64 inputs or outputs are bfloat16 or float32: they cost little",
        "convolutions and both products of attention are as in bfloat16; so is what a layer or an "
        "attention hands to layers alone, before it is quantised, where the CPU rounds to bfloat16",
        "so are all functions but the vision and the text encoder and memory attention: boxes, "
        "scores and masks; in DETR's encoder it would save 2 % of a prompt's time and make four "
        "times the error, which DETR's decoder enlarges",
    ),
    rest="bfloat16",
    functions=frozenset(("vision_encoder", "text_encoder", "memory_attention")),
)
"""Products of int8 in linear layers, added up as integers, hence exactly. Weights are in units of
their output channel, activations of their row (a token): both symmetric, no calibration."""

SCHEMES = {
    scheme.name: scheme
    for scheme in (
        FLOAT32,
        Arithmetic("float16-weights", "float16", exceptions=_NARROW),
        BFLOAT16_FEATURES,
        BFLOAT16,
        Arithmetic("int8-weights", "int8", exceptions=_NARROW),
        INT8,
    )
}
"""All schemes by name, from the finest to the coarsest."""

COMPUTES = tuple(dict.fromkeys(scheme.activations for scheme in SCHEMES.values()))
"""In what functions may compute."""

PRECISIONS = tuple(s.weights for s in SCHEMES.values() if s.activations == "float32")
"""How weights may be stored for arithmetic in float32."""


def storing(weights: str) -> Arithmetic:
    """The scheme in float32 whose weights are stored in a precision, one of :data:`PRECISIONS`."""
    return scheme("float32", weights)


def scheme(compute: str, weights: str | None = None) -> Arithmetic:
    """The scheme of that arithmetic, one of :data:`COMPUTES`.

    Args:
        compute: dtype of the activations.
        weights: dtype of the stored weights; by default that of the activations.

    Raises:
        KeyError: there is none.
    """
    for known in SCHEMES.values():
        of_all = known.tokens is None
        if of_all and (known.activations, known.weights) == (compute, weights or compute):
            return known
    raise KeyError(f"no arithmetic in {compute} has weights in {weights}")
