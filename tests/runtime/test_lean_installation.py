"""Pictures are segmented where nothing is installed but what that takes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from sam3_tvm.assets import photographs

PAGE = Path(__file__).parents[2] / "docs" / "installing.md"

# An import of anything else fails, as it does where the rest was uninstalled.
LEAN = """
import sys
kept = {"numpy", "PIL", "tokenizers", "safetensors", "pycocotools", "tvm_ffi",
        "typing_extensions", "sam3_tvm", *sys.stdlib_module_names}

class Rest:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in kept and not name.startswith("_"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in [n for n in sys.modules if n.partition(".")[0] not in kept and n[0] != "_"]:
    del sys.modules[name]
sys.meta_path.insert(0, Rest())
import sam3_tvm
model = sam3_tvm.load(sys.argv[1])
result = model.segment(sys.argv[2], text="cat", threshold=0.0)
result.save("found.png")
result.save("found.json")
clicked = model.click(sys.argv[2], points=[[120, 90]])
print(len(result.scores), clicked.masks.shape[0])
for name in ("typer", "rich", "huggingface_hub", "packaging"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{name} was there after all")
"""


def test_load_segment_and_click_need_seven_packages(tiny_artifact, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LEAN, tiny_artifact, photographs()[1]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, masks = map(int, done.stdout.split())
    assert found > 0
    assert masks == 3
    assert (tmp_path / "found.png").is_file()


def test_what_the_page_takes_out_is_none_of_these():
    kept = {"numpy", "pillow", "tokenizers", "safetensors", "pycocotools", "apache-tvm-ffi"}
    commands = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    removed = re.findall(r"pip uninstall -y (.+)", commands)
    assert removed
    assert not kept & {name for line in removed for name in line.split()}
