"""One small model of Meta's, as a checkpoint of each format."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from meta_tiny import checkpoint_of, matching_video_config

from sam3_tvm.sources import open_source
from sam3_tvm.sources.convert import convert


@pytest.fixture(scope="session")
def meta_weights() -> dict[str, torch.Tensor]:
    """The weights of ``random:meta-tiny`` as ``sam3.pt`` names them, the tracker's among them."""
    return checkpoint_of(open_source("random:meta-tiny"))


@pytest.fixture(scope="session")
def meta_file(meta_weights, tmp_path_factory) -> Path:
    """``sam3.pt`` of ``random:meta-tiny``, its tokenizer beside it."""
    folder = tmp_path_factory.mktemp("meta")
    torch.save(meta_weights, folder / "sam3.pt")
    tokenizer = open_source("random:meta-tiny").tokenizer_json()
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    return folder / "sam3.pt"


@pytest.fixture(scope="session")
def config_file(tmp_path_factory) -> Path:
    """``config.json`` of the same sizes."""
    folder = tmp_path_factory.mktemp("config")
    matching_video_config().save_pretrained(folder)
    return folder / "config.json"


@pytest.fixture(scope="session")
def transformers_folder(meta_file, config_file, tmp_path_factory) -> Path:
    """The same weights, converted to transformers' format."""
    folder = tmp_path_factory.mktemp("converted") / "transformers"
    convert(str(meta_file), folder, config=config_file)
    return folder


@pytest.fixture(scope="session")
def meta_folder(transformers_folder, tmp_path_factory) -> Path:
    """And converted back."""
    folder = tmp_path_factory.mktemp("back") / "meta"
    convert(str(transformers_folder), folder)
    return folder
