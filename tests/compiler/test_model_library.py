"""``model.so``: what is told where it can't be linked."""

from __future__ import annotations

import pytest

from sam3_tvm.binary import Binary
from sam3_tvm.compiler import CompileError
from sam3_tvm.compiler.model_library import link_library
from sam3_tvm.linking import Linker


def test_a_linker_that_fails_is_one_line_and_leaves_nothing(tmp_path):
    class Executable:
        def export_library(self, path, fcompile):
            fcompile(path, [str(tmp_path / "gone.o"), str(tmp_path / "gone too.o")])

    full = tmp_path / "full"
    full.write_text("#!/bin/sh\necho 'ld: no space'\necho left\nexit 1\n")
    full.chmod(0o755)
    linker = Linker((str(full),), Binary.here(), "CXX")
    says = r"model\.so can't be linked by .*full \(CXX\): ld: no space left: is there room"
    with pytest.raises(CompileError, match=says) as caught:
        link_library(Executable(), tmp_path / "model.so", linker)
    assert "\n" not in str(caught.value)
