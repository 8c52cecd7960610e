"""Encoders and decoders of text, without a cache."""

from __future__ import annotations

from tests.zoo.entry import Entry, attention_mask, model, tokens

__all__ = ["ENTRIES"]

_BART = {
    "vocab_size": 64,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}
_T5 = {
    "vocab_size": 64,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 16,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
_INPUTS = {
    "input_ids": tokens(8),
    "attention_mask": attention_mask(8),
    "decoder_input_ids": tokens(6),
}


def _entry(name: str, cls: str, **settings: object) -> Entry:
    return Entry(
        name, model(cls, **settings), _INPUTS, "transformers", options={"use_cache": False}
    )


ENTRIES = [
    _entry("T5", "T5ForConditionalGeneration", **_T5),
    _entry("T5, gated", "T5Model", feed_forward_proj="gated-gelu", **_T5),
    _entry("UMT5", "UMT5ForConditionalGeneration", **_T5),
    _entry("LongT5, local", "LongT5Model", local_radius=3, encoder_attention_type="local", **_T5),
    _entry(
        "Switch transformer",
        "SwitchTransformersModel",
        num_experts=4,
        num_sparse_encoder_layers=1,
        num_sparse_decoder_layers=1,
        expert_capacity=8,
        **_T5,
    ),
    _entry("BART", "BartForConditionalGeneration", **_BART),
    _entry("mBART", "MBartModel", **_BART),
    _entry("Pegasus", "PegasusForConditionalGeneration", **_BART),
    _entry("Pegasus-X", "PegasusXModel", num_global_tokens=4, block_size=4, **_BART),
    _entry("Marian", "MarianMTModel", **_BART),
    _entry("M2M-100", "M2M100ForConditionalGeneration", **_BART),
    _entry("Blenderbot", "BlenderbotModel", **_BART),
    _entry("PLBart", "PLBartModel", **_BART),
    _entry(
        "LED",
        "LEDModel",
        attention_window=4,
        max_encoder_position_embeddings=32,
        max_decoder_position_embeddings=32,
        **_BART,
    ),
    _entry("MVP", "MvpModel", **_BART),
    _entry(
        "FSMT",
        "FSMTModel",
        langs=["en", "de"],
        src_vocab_size=64,
        tgt_vocab_size=64,
        **{k: v for k, v in _BART.items() if k != "vocab_size"},
    ),
    _entry(
        "ProphetNet",
        "ProphetNetModel",
        vocab_size=64,
        hidden_size=32,
        encoder_ffn_dim=48,
        num_encoder_layers=1,
        num_encoder_attention_heads=4,
        decoder_ffn_dim=48,
        num_decoder_layers=1,
        num_decoder_attention_heads=4,
        max_position_embeddings=32,
        ngram=2,
        num_buckets=8,
        relative_max_distance=16,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    ),
]
