"""How commands print."""

from __future__ import annotations

import io
import json
import sys
import warnings

import pytest

from sam3_tvm.cli import terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with terminal.reporting() as progress:
        for done, step in enumerate(["import [a]", "link", "done"]):
            progress(step, done, 2)
    shown = screen.getvalue()
    assert "2/2" in shown
    # A bar redraws its line; lines of text would not.
    assert "\x1b[" in shown


def test_progress_is_a_line_per_step_elsewhere(capsys):
    with terminal.reporting() as progress:
        for done, step in enumerate(["import [a]", "link", "done"]):
            progress(step, done, 2)
    assert capsys.readouterr() == ("", "[1/2] import [a]\n[2/2] link\n")


def test_progress_lines_can_be_left_out(capsys):
    with terminal.reporting(lines=False) as progress:
        progress("import", 0, 1)
    assert capsys.readouterr() == ("", "")


def test_deprecations_in_libraries_are_kept_back():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with terminal.reporting(lines=False):
            warnings.warn("old", FutureWarning, stacklevel=1)
            warnings.warn("look", UserWarning, stacklevel=1)
    assert [f"{w.message}" for w in seen] == ["look"]


def test_json_has_null_for_what_is_no_number():
    data = {"a": [float("nan"), 1.5], "b": ({"c": float("inf")},), "d": "ü"}
    assert json.loads(terminal.json_text(data)) == {"a": [None, 1.5], "b": [{"c": None}], "d": "ü"}


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0.0 KiB"), (1536, "1.5 KiB"), (3 << 20, "3.0 MiB"), (5 << 29, "2.50 GiB")],
)
def test_byte_sizes_take_the_unit_that_reads_well(count, text):
    assert terminal.byte_size(count) == text


def test_a_table_in_a_pipe_is_not_cut(capsys):
    rows = terminal.table("wide", "number", right=("number",))
    rows.add_row("x" * 150, "1")
    terminal.show("title " * 30, rows)
    shown = capsys.readouterr().out
    assert shown.splitlines()[0] == "title " * 30
    assert "x" * 150 in shown


def test_what_moves_the_cursor_is_spelt_out_in_cells(capsys):
    rows = terminal.table("name", "[bold]of[/bold]")
    rows.add_row("red \x1b[31m[red]\u202e", ["a\nb", "c\td"])
    terminal.show("title\r\x1b[2J", rows)
    terminal.say("wrote a\nb")
    shown = capsys.readouterr().out
    assert all(line.isprintable() for line in shown.splitlines()), shown
    for said in (r"red \x1b[31m[red]\u202e", r"a\nb ", r"c\td", "[bold]of[/bold]", r"wrote a\nb"):
        assert said in shown


def test_names_in_complaints_are_as_they_are_on_one_line(capsys):
    terminal.complain("error: a\nb  c\x1b[31m [/red] %s {0}.png: damaged\n")
    shown = capsys.readouterr().err
    assert shown == "error: a\\nb  c\\x1b[31m [/red] %s {0}.png: damaged\n"


def test_names_beside_a_bar_do_not_move_the_cursor(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with terminal.reporting() as progress:
        progress("[/red] a\nb\x1b[31m.png", 0, 2)
    shown = screen.getvalue()
    assert r"[/red] a\nb\x1b[31m.png" in shown
    assert "\x1b[31m.png" not in shown


def test_one_bar_over_all_makes_way_for_what_is_printed(monkeypatch, capsys):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with terminal.passing(3, 1) as progress:
        progress.tell("b\x1b[31m.png", 1)
        with progress.aside():
            before = screen.getvalue()
            # To stdout, which may be a file, and not to where the bar is.
            terminal.say("of b")
            assert screen.getvalue() == before
        progress.tell("c.png", 2)
    shown = screen.getvalue()
    assert "of b" not in shown
    assert capsys.readouterr().out == "of b\n"
    for said in ("1/3", "2/3", "left", r"b\x1b[31m.png", "c.png"):
        assert said in shown
    assert "\x1b[31m.png" not in shown


def test_among_many_a_line_each_elsewhere_and_none_for_one(capsys):
    for total in (2, 1):
        with terminal.passing(total) as progress:
            progress.tell("a.png", 0)
            with progress.aside():
                terminal.say("of a")
    assert capsys.readouterr() == ("of a\nof a\n", "[1/2] a.png\n")
