"""A few models of the zoo, and the zoo's own machinery."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tests.zoo import misbehaving
from tests.zoo.command import app
from tests.zoo.entry import Entry, drawn
from tests.zoo.families import entries, find
from tests.zoo.measure import Outcome, Trial, compare, import_and_compare, in_child
from tests.zoo.table import DOCS, documented, load, markdown, save, summary, terminal

# One of each kind of difficulty, all of them small; python -m tests.zoo runs the others.
REPRESENTATIVE = [
    "Llama, no mask",
    "SAM 3 memory encoder",
    "Transformer encoder, norm first",
    "RNN, tanh",
    "Rotary embeddings, complex",
    "Deformable attention",
    "Mel spectrogram",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_a_varying_batch_is_right(name: str) -> None:
    (entry,) = (e for e in entries() if e.name == name)
    outcome = import_and_compare(entry, stock=False, dynamic=True)
    assert outcome.right, outcome.detail


def test_a_fixed_batch_is_right() -> None:
    (entry,) = (e for e in entries() if e.name == "Decoder step with a cache")
    outcome = import_and_compare(entry, stock=False, dynamic=False)
    assert outcome.right, outcome.detail


def test_stock_tvm_runs_on_the_same_terms() -> None:
    outcome = import_and_compare(_doubling(), stock=True, dynamic=False)
    assert outcome.right, outcome.detail


class _Doubling(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


def _doubling() -> Entry:
    return Entry("doubling", _Doubling, {"x": drawn(3)})


@pytest.mark.parametrize(
    ("got", "kind", "detail"),
    [
        ([[1.0, 2.0], [torch.nan, -torch.inf]], "right", ""),
        ([[1.0, 2.001], [torch.nan, -torch.inf]], "wrong", "off by 0.0005 of"),
        ([[1.0, torch.nan], [torch.nan, -torch.inf]], "wrong", "off by inf"),
        ([[1.0, 2.0], [0.0, -torch.inf]], "wrong", "off by inf"),
        ([[1.0, 2.0], [torch.nan, torch.inf]], "wrong", "off by inf"),
        ([[1.0, 2.0, 3.0]], "wrong", r"shape \(1, 3\), PyTorch has \(2, 2\)"),
        ([[1, 2], [3, 4]], "wrong", "dtype torch.int64, PyTorch has torch.float32"),
    ],
)
def test_what_differs_is_told(got: list[list[float]], kind: str, detail: str) -> None:
    want = torch.tensor([[1.0, 2.0], [torch.nan, -torch.inf]])
    outcome = compare([torch.tensor(got)], [want], 1e-4)
    assert outcome.kind == kind
    assert re.search(detail, outcome.detail)


def test_a_result_too_many_is_told() -> None:
    x = torch.ones(1)
    assert compare([x, x], [x], 1.0).detail == "2 results, PyTorch has 1"


def test_what_torch_cannot_export_is_told_apart() -> None:
    class Reading(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1 if x.sum() > 0 else x

    outcome = import_and_compare(Entry("reading", Reading, {"x": drawn(3)}), False, False)
    assert outcome.kind == "refused"
    assert outcome.detail.startswith("torch.export refuses: GuardOnDataDependentSymNode")


def test_a_crash_or_a_hang_ends_one_trial_alone() -> None:
    trial = Trial("none", stock=True, dynamic=False)
    crashed = in_child(trial, 60, misbehaving.crash)
    assert (crashed.kind, crashed.detail) == ("crash", "the process ended with SIGSEGV")
    assert in_child(trial, 0.5, misbehaving.hang).kind == "timeout"
    raised = in_child(trial, 60, misbehaving.stumble)
    assert (raised.kind, raised.detail) == (
        "error",
        "the entry is wrong: KeyError: 'no such setting'",
    )


def test_every_result_depends_on_the_input() -> None:
    """Of a sample: a model whose result is constant would be right whatever is imported."""
    for entry in find("Conv*"):
        module = entry.module()
        a, b = (module(*entry.example(entry.batch, seed)) for seed in (0, 1))
        assert any(not torch.equal(x, y) for x, y in zip(a, b, strict=True)), entry.name


def test_the_zoo_is_as_large_as_it_says() -> None:
    names = [entry.name for entry in entries()]
    assert len(names) >= 130
    assert sum(entry.source == "transformers" for entry in entries()) >= 100
    assert all(entry.inputs for entry in entries())


def _results() -> dict[Trial, Outcome]:
    return {
        Trial("BERT", False, False): Outcome("right", "", 2e-7, 1.0),
        Trial("BERT", True, False): Outcome("crash", "the process ended with SIGSEGV"),
        Trial("BERT", False, True): Outcome("right", "", 3e-7, 1.0),
        Trial("BERT", True, True): Outcome("error", "KeyError: 'a|b'"),
        Trial("Longformer", False, False): Outcome("refused", "torch.export refuses: it"),
        Trial("FNet", False, False): Outcome("wrong", "off by 0.5", 0.5),
        Trial("FNet", True, False): Outcome("right", "", 1e-7),
    }


def test_results_are_counted_and_shown(tmp_path: Path) -> None:
    results, chosen = _results(), [e for e in entries() if e.name in ("BERT", "Longformer", "FNet")]
    assert summary(chosen, results) == [
        "static: 1 of 2 right, 1 by TVM's own importer",
        "any batch from 1 to 8: 1 of 1 right, 0 by TVM's own importer; 2 not run",
    ]
    text = markdown(chosen, results)
    assert r"| BERT | right | crash | right | error | 3e-07 | TVM: the process ended" in text
    assert "| Longformer | not exported |" in text
    assert terminal(chosen, results).row_count == 3
    path = tmp_path / "results.json"
    save(path, results)
    assert load(path) == results


def test_docs_have_the_table_that_the_command_writes() -> None:
    page = DOCS.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!model|---)(.+?) \|(.*)\|$", page, re.MULTILINE)
    models = [name.replace("\\", "") for name, rest in rows if rest.count(" | ") == 5]
    assert models == [entry.name for entry in entries()]
    counts = re.findall(
        r"^- (static|any batch .*?): (\d+) of (\d+) right(?:, (\d+) by)?", page, re.M
    )
    assert counts
    cells = [rest.split("|") for _, rest in rows if rest.count(" | ") == 5]
    # Each was taken by ours in one of the two ways at least; the whole table takes hours.
    assert all({row[0].strip(), row[2].strip()} - {"", "–"} for row in cells)
    for name, right, of, stock in counts:
        column = 0 if name == "static" else 2
        ours = [row[column].strip() for row in cells]
        theirs = [row[column + 1].strip() for row in cells]
        counted = [i for i, cell in enumerate(ours) if cell not in ("", "–", "not exported")]
        assert len(counted) == int(of)
        assert ours.count("right") == int(right)
        assert sum(theirs[i] == "right" for i in counted) == int(stock or 0)


def test_the_table_stands_between_its_markers() -> None:
    page = DOCS.read_text(encoding="utf-8")
    fresh = documented(page, "new")
    assert "new" in fresh
    assert documented(fresh, "newer") == documented(page, "newer")
    with pytest.raises(ValueError, match="the page has no"):
        documented("an empty page", "new")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--only", "nothing like it"], "no model and no family is called 'nothing like it'"),
        (["--resume"], "--resume goes on from a file of results"),
        (["--write-docs", "--dynamic"], "--write-docs writes the whole table"),
    ],
)
def test_wrong_use_is_one_line(arguments: list[str], problem: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert problem in result.output
