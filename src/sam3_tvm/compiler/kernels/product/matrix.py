"""Products by a matrix unit: tiles of two operands are multiplied by one instruction (AMX).

A tile register holds 16 rows of 16 words. ``tdpbf16ps`` and ``tdpbusd`` multiply one of A, 16 rows
of 16 words along K, by one of B, 16 words along K of 16 columns, and add to 16 x 16 sums of 32
bits: the words that ``vdpbf16ps`` and ``vpdpbusd`` take, in the same order, so operands are packed
for both alike. Of the eight registers four hold sums, 32 x 32 of them, two A and two B: four loads
a step for four products, of 16 cycles each.

What bounds that is the way from the second-level cache. On a Xeon of family 6, model 167 (48 KiB of
L1, 2 MiB of L2), one core, bfloat16: 2.9 TFLOP/s with operands in L1, 2.4 with A from L2, 1.75 with
both. So K is cut into blocks of 128 words (``Tiles.matrix_depth``): a panel of B is then 16 KiB and
stays in L1 while all rows of a task pass it, with 16 KiB for each 32 rows of A. Sums are visited
once a block, which costs about 20 %; blocks twice as deep would save half of that, and lose more to
L2. Tasks are 192 rows x 512 columns, so that weights come from L3 seldom enough.

TVM knows no tiles. A product of tiles is LLVM's own language, imported as in
:mod:`~sam3_tvm.compiler.kernels.product.bfloat16`, with the registers named: no compiler has to
find any. Rounding: ``tdpbf16ps`` takes and gives subnormal values as zeros and adds to nearest
even, in an order of its own; ``tdpbusd`` is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.tirx.script.builder import ir as T

from sam3_tvm.compiler.kernels.emit import Expr, as_index

__all__ = ["AMX_BF16", "AMX_INT8", "Matrix", "Place"]

_SIDE = 16  # rows of a tile register, and words of a row


@dataclass(frozen=True)
class Place:
    """Where rows of 32-bit values lie.

    Attributes:
        buffer: a buffer.
        at: indices of the first row's first value.
        stride: distance of rows, in bytes.
        step: of A, bytes from the first 16 words of a row to the next; by default they follow each
            other. In tiles of their own, 32 rows of 16 words, A is read front to back.
    """

    buffer: Expr
    at: tuple[Expr, ...]
    stride: int
    step: int = 4 * _SIDE

    def arguments(self) -> tuple[Expr, Expr]:
        """Address and stride, as an imported function takes them."""
        address = tirx.address_of(self.buffer[tuple(map(as_index, self.at))])
        return address, tirx.const(self.stride, "int32")


@dataclass(frozen=True)
class Matrix:
    """A matrix unit's instruction for one kind of words.

    Attributes:
        instruction: as LLVM names it.
        feature: what the CPU must have.
    """

    instruction: str
    feature: str

    @property
    def side(self) -> int:
        """Words of K that a step takes, and rows and columns of a tile register."""
        return _SIDE

    @property
    def llvm(self) -> str:
        """Definitions that a kernel imports."""
        declared = f"declare void @llvm.x86.{self.instruction}(i8, i8, i8)\n"
        return (
            _BEGIN_AND_END
            + declared
            + "".join(
                _product(self.instruction, rows, columns) for rows in (1, 2) for columns in (1, 2)
            )
        )

    def begin(self) -> None:
        """Emit what must precede a thread's products: eight registers of 16 x 16 words."""
        T.evaluate(tirx.call_extern("void", "sam3_amx_begin"))

    def end(self) -> None:
        """Emit what must follow them: the registers are given up."""
        T.evaluate(tirx.call_extern("void", "sam3_amx_end"))

    def multiply_add(
        self,
        shape: tuple[int, int],
        c: Place,
        a: Place,
        b: Place,
        steps: Expr,
        fresh: Expr,
        runs: tuple[int, int, int] = (1, 0, 0),
    ) -> None:
        """Emit ``C = A B`` or ``C += A B``, or the sum of several such products.

        Args:
            shape: rows and columns of C, 16 or 32 each.
            c: sums.
            a: rows of words.
            b: words of K, one row for each.
            steps: words of K, a whole number of 16.
            fresh: whether sums start at zero.
            runs: how many products, and the bytes from one's A and B to the next one's.
        """
        rows, columns = (size // _SIDE for size in shape)
        name = _name(self.instruction, rows, columns)
        places = (value for place in (c, a, b) for value in place.arguments())
        flags = (steps.astype("int32"), fresh.astype("int32"))
        fixed = (tirx.const(value, "int32") for value in (a.step, *runs))
        T.evaluate(tirx.call_extern("void", name, *places, *flags, *fixed))


AMX_BF16 = Matrix("tdpbf16ps", "AMXBF16")
"""Pairs of bfloat16."""

AMX_INT8 = Matrix("tdpbusd", "AMXINT8")
"""Four bytes, of A without a sign."""


def _name(instruction: str, rows: int, columns: int) -> str:
    return f"sam3_{instruction}_{rows * _SIDE}x{columns * _SIDE}"


# ldtilecfg reads 64 bytes: a 1 in the first; bytes of a row from the 16th on, two bytes a register;
# rows from the 48th on, a byte a register.
_CONFIGURATION = ", ".join(
    f"i32 {word}" for word in (1, 0, 0, 0, *[64 << 16 | 64] * 4, *[0] * 4, *[0x10101010] * 2, 0, 0)
)

_BEGIN_AND_END = f"""
declare void @llvm.x86.ldtilecfg(ptr)
declare void @llvm.x86.tilerelease()
declare void @llvm.x86.tilezero(i8)
declare void @llvm.x86.tileloadd64(i8, ptr, i64)
declare void @llvm.x86.tilestored64(i8, ptr, i64)

define void @sam3_amx_begin() alwaysinline {{
  %c = alloca <16 x i32>, align 64
  store <16 x i32> <{_CONFIGURATION}>, ptr %c, align 64
  call void @llvm.x86.ldtilecfg(ptr %c)
  ret void
}}

define void @sam3_amx_end() alwaysinline {{
  call void @llvm.x86.tilerelease()
  ret void
}}
"""


def _product(instruction: str, rows: int, columns: int) -> str:
    """The definition for so many tile registers of rows and of columns, at most two each.

    Registers 0 to 3 are sums, 4 and 5 of A, 6 and 7 of B.
    """
    sums = [(i, j) for i in range(rows) for j in range(columns)]

    def over_sums(call: str) -> str:
        lines = [call.format(t=2 * i + j, a=4 + i, b=6 + j, at=f"%c{i}{j}") for i, j in sums]
        return "\n".join(f"  call void @llvm.x86.{line}" for line in lines)

    addresses = [
        line
        for i, j in sums
        for line in (
            f"%r{i}{j} = mul i64 %cs, {_SIDE * i}",
            f"%p{i}{j} = add i64 %r{i}{j}, {_SIDE * 4 * j}",
            f"%c{i}{j} = getelementptr i8, ptr %c, i64 %p{i}{j}",
        )
    ]
    a_loads = [
        line
        for i in range(rows)
        for line in (
            f"%x{i} = getelementptr i8, ptr %a.k, i64 %ad{i}",
            f"call void @llvm.x86.tileloadd64(i8 {4 + i}, ptr %x{i}, i64 %as)",
        )
    ]
    b_loads = [
        line
        for j in range(columns)
        for line in (
            f"%y{j} = getelementptr i8, ptr %b.k, i64 {_SIDE * 4 * j}",
            f"call void @llvm.x86.tileloadd64(i8 {6 + j}, ptr %y{j}, i64 %bs)",
        )
    ]

    def indented(lines: list[str]) -> str:
        return "\n".join(f"  {line}" for line in lines)

    distances = indented([f"%ad{i} = mul i64 %as, {_SIDE * i}" for i in range(rows)])
    return f"""
define void @{_name(instruction, rows, columns)}(ptr %c, i32 %cs.i, ptr %a, i32 %as.i, ptr %b,
    i32 %bs.i, i32 %steps, i32 %fresh, i32 %ak, i32 %runs, i32 %a.far, i32 %b.far) alwaysinline {{
entry:
  %cs = sext i32 %cs.i to i64
  %as = sext i32 %as.i to i64
  %bs = sext i32 %bs.i to i64
  %step = mul i64 %bs, {_SIDE}
{indented(addresses)}
{distances}
  %is.fresh = icmp ne i32 %fresh, 0
  br i1 %is.fresh, label %zero, label %load
zero:
{over_sums("tilezero(i8 {t})")}
  br label %run
load:
{over_sums("tileloadd64(i8 {t}, ptr {at}, i64 %cs)")}
  br label %run
run:
  %n = phi i32 [ 0, %zero ], [ 0, %load ], [ %n.next, %ran ]
  %a.n = phi ptr [ %a, %zero ], [ %a, %load ], [ %a.n.next, %ran ]
  %b.n = phi ptr [ %b, %zero ], [ %b, %load ], [ %b.n.next, %ran ]
  %more.runs = icmp slt i32 %n, %runs
  br i1 %more.runs, label %loop, label %done
loop:
  %k = phi i32 [ 0, %run ], [ %k.next, %body ]
  %a.k = phi ptr [ %a.n, %run ], [ %a.next, %body ]
  %b.k = phi ptr [ %b.n, %run ], [ %b.next, %body ]
  %more = icmp slt i32 %k, %steps
  br i1 %more, label %body, label %ran
body:
{indented(b_loads[:2] + a_loads[:2] + b_loads[2:] + a_loads[2:])}
{over_sums(instruction + "(i8 {t}, i8 {a}, i8 {b})")}
  %k.next = add i32 %k, {_SIDE}
  %a.next = getelementptr i8, ptr %a.k, i32 %ak
  %b.next = getelementptr i8, ptr %b.k, i64 %step
  br label %loop
ran:
  %n.next = add i32 %n, 1
  %a.n.next = getelementptr i8, ptr %a.n, i32 %a.far
  %b.n.next = getelementptr i8, ptr %b.n, i32 %b.far
  br label %run
done:
{over_sums("tilestored64(i8 {t}, ptr {at}, i64 %cs)")}
  ret void
}}
"""
