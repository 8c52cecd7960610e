"""What pyproject.toml can't say: the demonstration goes into the wheel from where it lies here."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# Folders of the repository, and what of them goes into ``sam3_tvm/assets/demo``, under which name.
DEMO = (
    ("checkpoints/shapes", "shapes", "*"),
    ("examples", "examples", "*.jpg"),
    ("examples", "examples", "*.mp4"),
)


class BuildWithDemo(build_py):
    """Copies the demonstration beside the package's modules; an editable install finds it here."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for source, target in self._demo():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [
            *super().get_outputs(include_bytecode),
            *(f"{target}" for _, target in self._demo()),
        ]

    def _demo(self) -> list[tuple[Path, Path]]:
        into = Path(self.build_lib) / "sam3_tvm" / "assets" / "demo"
        return [
            (path, into / name / path.name)
            for folder, name, pattern in DEMO
            for path in sorted(Path(folder).glob(pattern))
        ]


setup(cmdclass={"build_py": BuildWithDemo})
