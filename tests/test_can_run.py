"""What a machine cannot run is refused in a line, before anything of it is loaded."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from sam3_tvm import host
from sam3_tvm.artifact import MANIFEST
from sam3_tvm.binary import Binary
from sam3_tvm.can_run import check_host
from sam3_tvm.errors import ArtifactError
from sam3_tvm.manifest import Manifest, Target
from sam3_tvm.runtime import load
from sam3_tvm.runtime.execution.module import load_functions

sys.path.insert(0, str(Path(__file__).parent / "runtime"))
import toy


@pytest.fixture
def made(tmp_path):
    return toy.write_artifact(tmp_path / "toy")


class TestHost:
    target = Target("llvm", "x86-64-v3", "x86-64-v3", "x86_64-unknown-linux-gnu", ("AVX2", "FMA3"))

    def check(self, **change):
        here = {"system": "Linux", "machine": "x86_64", "features": {"AVX2", "FMA3"}}
        check_host(self.target, "a", **{**here, **change})

    def test_the_right_machine_passes(self):
        self.check()
        self.check(machine="AMD64")

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"features": {"AVX2"}}, "built for x86-64-v3, .* lacks FMA3;"),
            ({"features": set()}, "lacks AVX2, FMA3;"),
            ({"machine": "arm64"}, "built for x86_64 processors, and this one is arm64"),
            ({"system": "Darwin"}, "built for Linux, and this is Darwin"),
        ],
    )
    def test_another_machine_is_named(self, change, says):
        with pytest.raises(ArtifactError, match=says) as caught:
            self.check(**change)
        assert "sam3-tvm compile" in str(caught.value)

    @pytest.mark.parametrize(
        ("lacking", "both"),
        [
            ({"AMXBF16"}, "x86-64-v4+avx512bf16"),
            ({"AMXBF16", "AVX512BF16"}, "x86-64-v4"),
            ({"AMXBF16", "AVX512F"}, None),
        ],
    )
    def test_a_target_for_both_machines_is_named_where_there_is_one(self, lacking, both):
        needed = {"AVX2", "AVX512F", "AMXBF16", "AVX512BF16"}
        self.target = Target(
            "llvm",
            "x86-64-v4+amxbf16+avx512bf16",
            "x86-64-v4",
            "x86_64-unknown-linux-gnu",
            tuple(sorted(needed)),
        )
        with pytest.raises(ArtifactError, match="this CPU lacks AMXBF16") as caught:
            self.check(features=needed - lacking)
        assert ("for both machines" in str(caught.value)) is (both is not None)
        assert both is None or f"--target {both} for both machines" in str(caught.value)

    def test_tiles_that_the_system_refuses_are_told_from_a_cpu_without(self, made, monkeypatch):
        target = dataclasses.replace(made.manifest.target, cpu_features=("AMXBF16",))
        opened = dataclasses.replace(
            made, manifest=dataclasses.replace(made.manifest, target=target)
        )
        monkeypatch.setattr(host, "features", lambda: frozenset({"AVX2"}))
        for refused, says in (
            (frozenset({"AMXBF16"}), "the system grants this process no tile registers, so no "),
            (frozenset(), "this CPU lacks "),
        ):
            monkeypatch.setattr(host, "refused_features", lambda refused=refused: refused)
            for refuse in (opened.check_host, lambda: load_functions(opened)):
                with pytest.raises(ArtifactError, match=f"{says}AMXBF16; compile it again"):
                    refuse()

    def test_this_machine_is_detected(self, made):
        made.check_host()
        impossible = dataclasses.replace(made.manifest.target, cpu_features=("NO_SUCH_FEATURE",))
        with pytest.raises(ArtifactError, match="lacks NO_SUCH_FEATURE"):
            check_host(impossible, "a")

    def test_it_is_refused_before_what_an_artifact_leaves_out(self, made, monkeypatch):
        """Who compiles it again then does so for the machine at hand."""
        monkeypatch.setattr(Manifest, "left_out", ["scoring"])
        with pytest.raises(ArtifactError, match="was compiled without scoring"):
            load(made.path)
        manifest = json.loads((made.path / MANIFEST).read_text())
        manifest["target"]["cpu_features"] = ["NO_SUCH_FEATURE"]
        (made.path / MANIFEST).write_text(json.dumps(manifest))
        with pytest.raises(ArtifactError, match="this CPU lacks NO_SUCH_FEATURE"):
            load(made.path)

    @pytest.mark.parametrize("name", ["model.so", "libtvm_runtime.so"])
    def test_a_library_for_another_processor_is_named(self, made, name):
        # glibc would say that there is no such file.
        path = made.path / name
        manifest = dataclasses.replace(made.manifest, runtime_libraries=("libtvm_runtime.so",))
        (made.path / "libtvm_runtime.so").write_bytes(b"text is not judged")
        opened = dataclasses.replace(made, manifest=manifest)
        opened.check_host()
        other = 183 if Binary.here().machine == "x86_64" else 62
        path.write_bytes(b"\x7fELF\2\1\1" + bytes(11) + bytes([other, 0]) + bytes(44))
        says = rf"{name}: cannot be loaded: it is for .*AArch64.*; compile it again"
        with pytest.raises(ArtifactError, match=says) as caught:
            opened.check_host()
        assert "\n" not in str(caught.value)
        path.unlink()
        with pytest.raises(ArtifactError, match=rf"{name}: cannot be read \(No such file"):
            opened.check_host()
