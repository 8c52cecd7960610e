"""From a source's components to an artifact. Needs the extra ``[compile]``."""

from __future__ import annotations

from sam3_tvm.compiler.driver import CompileError, CompileReport, compile

__all__ = ["CompileError", "CompileReport", "compile"]
