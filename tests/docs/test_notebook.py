"""The notebook in examples/ runs from top to bottom, and results show themselves in it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


def run(artifact: Path, monkeypatch: pytest.MonkeyPatch):
    """The notebook after a run with this artifact, by this Python."""
    for package in ("nbclient", "ipykernel", "pandas", "supervision"):
        pytest.importorskip(package, reason=f"needs {package}, which isn't installed")
    import nbformat
    from jupyter_client import KernelManager
    from jupyter_client.kernelspec import KernelSpec
    from nbclient import NotebookClient

    monkeypatch.setenv("SAM3_TVM_ARTIFACT", f"{artifact}")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}")

    class ThisPython(KernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=command, language="python", display_name="this Python")

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": f"{NOTEBOOK.parent}"}}
    client = NotebookClient(notebook, timeout=300, resources=where, km=ThisPython())
    return client.execute()


def outputs(notebook, phrase: str) -> dict[str, str]:
    """What the cell with this phrase gave, by media type."""
    (cell,) = [c for c in notebook.cells if c.cell_type == "code" and phrase in c.source]
    return {kind: data for out in cell.outputs for kind, data in out.get("data", {}).items()}


def test_the_notebook_runs_and_shows_results(shapes_artifact, monkeypatch):
    notebook = run(shapes_artifact, monkeypatch)
    twice = outputs(notebook, 'text="star"')
    assert {"text/html", "image/png"} <= {*twice}
    assert twice["text/html"].count("<tr>") == 1 + 5
    once = outputs(notebook, "stars.nms(0.7)")
    assert once["text/html"].count("<tr>") == 1 + 4
    assert "<img" in once["text/html"]
    assert "area" in outputs(notebook, "to_dataframe()")["text/html"]
    assert "'stars.npz'" in outputs(notebook, "stars.save(")["text/plain"]


def test_the_notebook_is_kept_without_outputs():

    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 5
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
