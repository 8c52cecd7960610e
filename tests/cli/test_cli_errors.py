"""What a user sees when something is wrong, and how fast what is right begins."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toy
from rich.text import Text
from typer.main import get_command

from sam3_tvm.cli import app
from sam3_tvm.cli.prompts import parse_box, parse_point, parse_prompts
from sam3_tvm.errors import UsageError

COMMANDS = (
    *("demo", "compile", "convert", "segment", "annotate", "click", "track"),
    *("serve", "verify", "sign", "evaluate", "bench", "tune", "info", "doctor"),
)


def one_line(result) -> str:
    """The only line on stderr."""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert result.stdout == ""
    return lines[0]


def test_help_names_every_command_and_how_to_begin(cli):
    result = cli("--help")
    assert result.exit_code == 0
    assert {*COMMANDS} == {*get_command(app).commands}
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", result.stdout)
    assert "random:tiny" in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_examples(cli, command):
    result = cli(command, "--help")
    assert result.exit_code == 0
    _, examples = result.stdout.split("Examples")
    assert f"sam3-tvm {command}" in examples


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_printed_as_it_is_written(command):
    """Markup takes what stands in brackets, such as the name of an extra, unless it is escaped."""
    for parameter in get_command(app).commands[command].params:
        said = parameter.help or ""
        assert Text.from_markup(said).plain == said.replace("\\[", "["), parameter.name


def test_version_is_the_one_installed(cli):
    from importlib import metadata

    assert cli("--version").stdout.split() == ["sam3-tvm", metadata.version("sam3-tvm")]


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["segment"],
        ["segment", "artifact"],
        ["segment", "artifact", "x.png", "--nonsense"],
        ["segment", "artifact", "x.png", "--text", "dog", "--threads", "0"],
        ["segment", "artifact", "x.png", "--text", "dog", "--threshold", "high"],
        ["compile", "random:tiny"],
        ["compile", "random:tiny", "-o", "x", "--layer-norm", "none"],
    ],
)
def test_wrong_usage_exits_with_2(cli, arguments):
    result = cli(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr
    assert "Traceback" not in result.output


def test_without_arguments_the_help_is_shown(cli):
    assert "segment" in cli().output


TOO_LONG = "x" * 300


@pytest.mark.parametrize(
    "command",
    [
        f"segment artifact {TOO_LONG} --text dog",
        f"segment artifact photo.png --text dog -o {TOO_LONG}",
        f"click artifact {TOO_LONG} --point 1,1",
        f"click artifact photo.png --point 1,1 -o {TOO_LONG}",
        f"track artifact {TOO_LONG} --point 1,1",
        f"track artifact film --point 1,1 -o {TOO_LONG}.jsonl",
        f"track artifact film --mask {TOO_LONG}",
        f"evaluate artifact {TOO_LONG}",
        f"evaluate artifact data -o {TOO_LONG}",
        f"evaluate artifact data --sheet {TOO_LONG}",
        f"info {TOO_LONG}",
        f"verify {TOO_LONG} --integrity",
        f"verify artifact -o {TOO_LONG}",
    ],
)
def test_a_name_that_no_file_can_have_is_one_line(cli, folder, picture, model, command):
    picture(folder / "photo.png")
    picture(folder / "film" / "1.png")
    result = cli(*command.split())
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit)
    assert f"{TOO_LONG}" in result.stderr
    assert not list(folder.glob("sam3-out"))


@pytest.mark.parametrize("command", ["info", "verify --integrity", "segment"])
def test_a_missing_artifact_is_one_line(cli, folder, picture, command):
    name, *options = command.split()
    images = [picture(folder / "x.png"), "--text", "dog"] if name == "segment" else []
    result = cli(name, "nowhere", *images, *options)
    assert result.exit_code == 2
    line = one_line(result)
    assert line.startswith("error: nowhere: does not exist")
    assert "sam3-tvm compile" in line


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "nothing to look for: give --text PHRASE, --box x0,y0,x1,y1 or --like"),
        (["--negative-box", "1,2,3,4"], "says only what is not meant"),
        (["--text", "  "], "--text is empty"),
        (["--box", "1,2,3"], "3 numbers instead of four"),
        (["--box", "1,2,3,4,5"], "5 numbers instead of four"),
        (["--box", "1;2;3;4"], "not four numbers with commas"),
        (["--box", ""], "not four numbers"),
        (["--box", "1,2,nan,4"], "not a finite number"),
        (["--box", "10,2,5,4"], "x1 must be greater than x0"),
        (["--text", "dog", "--negative-box", "1,9,5,9"], "--negative-box '1,9,5,9'"),
        (["--text", "dog", "--threshold", "1.5"], "--threshold 1.5: scores lie between 0 and 1"),
        (["--text", "dog", "--threshold", "nan"], "--threshold nan"),
    ],
)
def test_prompts_that_make_no_sense_are_one_line_and_nothing_is_loaded(
    cli, folder, model, options, says
):
    result = cli("segment", "artifact", "x.png", *options)
    assert result.exit_code == 2
    line = one_line(result)
    assert line.startswith("error: ")
    assert says in line
    assert not model.loaded_with
    assert not list(folder.iterdir())


def test_an_error_of_several_lines_is_printed_as_one(cli, toy_artifact, monkeypatch):
    from sam3_tvm import artifact
    from sam3_tvm.errors import Sam3Error

    def fail(path):
        raise Sam3Error("first\n  second\n\tthird")

    monkeypatch.setattr(artifact, "open", fail)
    assert one_line(cli("info", "x")) == r"error: first\n  second\n\tthird"


def test_a_bug_keeps_its_traceback(cli, monkeypatch):
    from sam3_tvm import artifact

    def fail(path):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(artifact, "open", fail)
    assert isinstance(cli("info", "x").exception, ZeroDivisionError)


def test_an_interrupt_is_one_line_and_130(cli, monkeypatch):
    from sam3_tvm import artifact

    def stop(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(artifact, "open", stop)
    result = cli("info", "x")
    assert result.exit_code == 130
    assert one_line(result) == "interrupted"


# A finder that hides the extra, as if it weren't installed.
WITHOUT_EXTRA = """
import importlib.abc, sys

class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "tvm", "huggingface_hub"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
from sam3_tvm.cli import main
main()
"""


def without_extra(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRA, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("arguments", [["compile", "random:tiny", "-o", "x"], ["verify", "x"]])
def test_a_missing_extra_is_one_line_that_names_it(arguments):
    done = without_extra(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith("which is not installed: pip install 'sam3-tvm[compile]'")


def test_doctor_works_in_an_installation_that_can_only_run():
    done = without_extra("doctor", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["run"] == {"works": True, "problems": []}
    assert report["compile"]["works"] is False
    assert any("sam3-tvm[compile]" in problem for problem in report["compile"]["problems"])
    assert report["lessons"] is None


def test_info_and_integrity_work_without_the_extra(toy_artifact):
    assert without_extra("info", str(toy_artifact.path)).returncode == 0
    done = without_extra("verify", str(toy_artifact.path), "--integrity")
    assert done.returncode == 0, done.stderr
    assert "every SHA-256 as written" in done.stdout


def test_help_and_a_refused_segment_import_nothing_heavy(tmp_path):
    code = (
        "import sys\n"
        "from sam3_tvm.cli import app\n"
        "for arguments in (['--help'], ['segment', '--help']):\n"
        "    app(arguments, standalone_mode=False)\n"
        "heavy = {'torch', 'tvm', 'tvm_ffi', 'transformers', 'numpy', 'PIL'} & set(sys.modules)\n"
        "print('heavy:', *sorted(heavy))\n"
    )
    printed = toy.run_python("-c", code)
    assert printed.splitlines()[-1] == "heavy:"


def test_boxes_are_read_with_spaces_signs_and_fractions():
    assert parse_box("-1.5, 2,3e2 ,4") == (-1.5, 2, 300, 4)


def test_the_wrong_box_is_named_by_its_option():
    with pytest.raises(UsageError, match="--negative-box 'a,b,c,d'"):
        parse_prompts(["dog"], [], ["a,b,c,d"])


def test_points_are_read_and_the_wrong_one_is_named_by_its_option():
    assert parse_point("1.5, -2") == (1.5, -2)
    with pytest.raises(UsageError, match="--point '1,2,3': 3 numbers instead of two"):
        parse_point("1,2,3")
    with pytest.raises(UsageError, match="--negative-point 'x': not two numbers"):
        parse_prompts([], [], [], ["1,2"], ["x"])
    with pytest.raises(UsageError, match="a --negative-point says only what is not meant"):
        parse_prompts([], [], [], [], ["1,2"])
    prompts = parse_prompts([], [], [], ["1,2"], ["3,4"])
    assert (prompts.points, prompts.point_labels) == (((1, 2), (3, 4)), (1, 0))


def test_prompts_keep_their_order_and_a_phrase_counts_once():
    prompts = parse_prompts(["dog", "cat", "dog"], ["1,1,2,2", "3,3,4,4"], ["5,5,6,6"])
    assert prompts.texts == ("dog", "cat")
    assert prompts.boxes == ((1, 1, 2, 2), (3, 3, 4, 4), (5, 5, 6, 6))
    assert prompts.labels == (1, 1, 0)


def test_the_entry_point_is_the_installed_script():
    script = Path(sys.executable).parent / "sam3-tvm"
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.startswith("sam3-tvm ")


def no_thread() -> None:
    """What the threading module raises at its limit."""
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize(
    ("stop", "code", "says"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGTERM), 143, "ended by a signal"),
        (lambda: os.kill(os.getpid(), signal.SIGHUP), 129, "ended by a signal"),
        (lambda: bytearray(1 << 60), 2, "error: not enough memory"),
        (no_thread, 2, "error: no thread can be started; end other programs"),
    ],
)
def test_an_end_from_outside_is_one_line(cli, monkeypatch, stop, code, says):
    from sam3_tvm import artifact
    from sam3_tvm.cli.ending import end_on_signals

    tidied = []

    def run(path):
        try:
            stop()
            time.sleep(5)
        finally:
            tidied.append(path)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    monkeypatch.setattr(artifact, "open", run)
    try:
        end_on_signals()
        result = cli("info", "x")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert result.exit_code == code
    assert one_line(result).startswith(says)
    assert tidied


@pytest.mark.parametrize(
    "command",
    [
        ("segment", "here", "URL", "--text", "dog"),
        ("click", "here", "URL", "--point", "1,2"),
        ("track", "here", "URL", "--box", "1,2,3,4"),
        ("verify", "here", "--image", "URL"),
        ("evaluate", "here", "URL"),
        ("evaluate", "here", "--annotations", "x.json", "--images", "URL"),
        ("bench", "URL"),
        ("info", "URL"),
        ("compile", "URL", "-o", "out"),
        ("convert", "URL", "-o", "out"),
    ],
    ids=lambda command: command[0],
)
def test_urls_are_refused_as_they_were_typed(cli, folder, command):
    url = "https://example.org//photos/x.jpg"
    result = cli(*(url if word == "URL" else word for word in command))
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: {url}: URLs (https://) are not fetched; download it and give the file's path\n"
    )
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ("segment", "here", "", "--text", "dog"),
        ("segment", "", "x.png", "--text", "dog"),
        ("segment", "here", "x.png", "--text", "dog", "-o", "found", "-o", ""),
        ("click", "here", "", "--point", "1,2"),
        ("click", "here", "x.png", "--point", "1,2", "-o", ""),
        ("annotate", "here", "", "-o", "data", "--text", "dog"),
        ("track", "here", "", "--box", "1,2,3,4"),
        ("track", "here", "x.mp4", "--box", "1,2,3,4", "-o", ""),
        ("track", "here", "x.mp4", "--mask", ""),
        ("track", "here", "x.mp4", "--mask", "@3"),
        ("verify", "here", "--image", ""),
        ("verify", "here", "-o", ""),
        ("evaluate", "here", ""),
        ("evaluate", "here", "data", "-o", ""),
        ("evaluate", "here", "data", "--sheet", ""),
        ("evaluate", "here", "--annotations", "", "--images", "x"),
        ("bench", ""),
        ("bench", "here", "-o", ""),
        ("info", ""),
        ("tune", "-o", ""),
        ("compile", "", "-o", "out"),
        ("compile", "random:tiny", "-o", ""),
        ("compile", "random:tiny", "-o", "out", "--tuned", ""),
        ("compile", "random:tiny", "-o", "out", "--dump", ""),
        ("convert", "", "-o", "out"),
        ("convert", "x", "-o", ""),
        ("convert", "x", "-o", "out", "--config", ""),
    ],
    ids=" ".join,
)
def test_an_empty_path_is_one_line(cli, folder, arguments):
    (folder / "here").mkdir()
    result = cli(*arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: a path is empty: name a file or a folder")
    assert [path.name for path in folder.iterdir()] == ["here"]
