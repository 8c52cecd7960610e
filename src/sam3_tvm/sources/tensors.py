"""What no checkpoint's tensors may be, whoever wrote it: an adapter's, quantised, or not finite."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from sam3_tvm.sources.base import SourceError

__all__ = [
    "MERGE",
    "SplitKeys",
    "check_dtypes",
    "check_finite",
    "check_names",
    "examples",
    "quantised",
    "split_keys",
    "split_transformers_keys",
]

# How PEFT names what it adds, and the layers that it wraps.
_ADAPTER = re.compile(
    r"(?:^|\.)(?:lora_|loha_|lokr_|hada_|ia3_|vera_|oft_|boft_|adalora_|prompt_embeddings|"
    r"base_layer\.|modules_to_save\.|original_module\.|base_model\.model\.)"
)
# What bitsandbytes, GPTQ, AWQ, compressed-tensors and torchao keep beside or in place of weights.
_QUANTISED = re.compile(
    r"\.(?:SCB|qweight|qzeros|g_idx|scales|absmax|quant_map|weight_scale(?:_inv)?|weight_packed|"
    r"input_scale|nested_absmax|quant_state\.\w+|weight\.(?:absmax|quant_map|quant_state\..+))$"
)
_DTYPES = {"float64", "float32", "float16", "bfloat16"}

MERGE = "merge the adapter first (PEFT's merge_and_unload, then save_pretrained) and give that"


def examples(names: Iterable[str], count: int = 3) -> str:
    """The first few of some names, and how many more there are."""
    found = sorted(names)
    more = f" and {len(found) - count} more" if len(found) > count else ""
    return ", ".join(found[:count]) + more


def check_names(where: Path, names: Iterable[str]) -> None:
    """Refuse the names of adapters and of quantised weights.

    Raises:
        SourceError: there are some.
    """
    names = list(names)
    if wrapped := [name for name in names if _ADAPTER.search(name)]:
        raise SourceError(
            f"{where}: {len(wrapped)} tensors are an adapter's ({examples(wrapped)}), and would be "
            f"left out; {MERGE}"
        )
    if packed := [name for name in names if _QUANTISED.search(name)]:
        raise quantised(where, f"it has {examples(packed)}")


def check_dtypes(where: Path, dtypes: Iterable[tuple[str, str]]) -> None:
    """Refuse tensors of dtypes that no weights have.

    Args:
        where: the checkpoint, for errors.
        dtypes: of the model's tensors, names and torch's words for their dtypes.

    Raises:
        SourceError: there are some.
    """
    for name, dtype in dtypes:
        if dtype not in _DTYPES:
            raise quantised(where, f"{name} is {dtype}")


def quantised(where: Path, why: str) -> SourceError:
    """The error about weights that are stored in other than floating point."""
    return SourceError(
        f"{where}: its weights are quantised ({why}); give those in float32, float16 or bfloat16, "
        "and quantise with compile --weights int8"
    )


def check_finite(where: Path, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Refuse weights that no training ends well with.

    Raises:
        SourceError: NaN or an infinity among them.
    """
    for name, tensor in tensors:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise SourceError(
                f"{where}: {name} holds NaN or infinities: training diverged, or the file is "
                "damaged; give a checkpoint from before, or copy it again"
            )


_TRANSFORMERS_PREFIXES = re.compile(r"^(?:module\.|_orig_mod\.|detector_model\.)+")
_TRANSFORMERS_TRACKER = re.compile(r"^tracker_model\.|^tracker_neck\.")
# Saved again by transformers 5.23, the tracker's have their prefix twice.
_TRANSFORMERS_AGAIN = {re.compile(r"^(?:tracker_model\.)+"): "tracker_model."}
_TRANSFORMERS_COMPUTED = re.compile(r"\.rope_embeddings(?:_cos|_sin)?$|\.position_ids$")


@dataclass(frozen=True)
class SplitKeys:
    """A checkpoint's names, told apart.

    Attributes:
        model: from the name that the image model has for it to the file's.
        tracker: the same of the tracker, which is no part of the image model.
        computed: tables that the model computes itself.
    """

    model: dict[str, str]
    tracker: dict[str, str]
    computed: list[str]


def split_keys(
    keys: Iterable[str],
    prefixes: re.Pattern[str],
    tracker: re.Pattern[str],
    computed: re.Pattern[str],
    old: Mapping[re.Pattern[str], str],
) -> SplitKeys:
    """Names by whose they are, without what ``prefixes`` matches and with ``old`` names replaced.

    Raises:
        SourceError: two names for one tensor.
    """
    split = SplitKeys({}, {}, [])
    for key in keys:
        name = prefixes.sub("", key)
        for pattern, new in old.items():
            name = pattern.sub(new, name)
        if computed.search(name):
            split.computed.append(key)
            continue
        named = split.tracker if tracker.search(name) else split.model
        if name in named:
            raise SourceError(f"{named[name]} and {key} are the same tensor's names")
        named[name] = key
    return split


def split_transformers_keys(keys: Iterable[str]) -> SplitKeys:
    """Names of a checkpoint of transformers', by whose they are.

    Raises:
        SourceError: two names for one tensor.
    """
    return split_keys(
        keys,
        _TRANSFORMERS_PREFIXES,
        _TRANSFORMERS_TRACKER,
        _TRANSFORMERS_COMPUTED,
        _TRANSFORMERS_AGAIN,
    )
