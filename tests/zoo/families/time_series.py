"""Time series."""

from __future__ import annotations

from tests.zoo.entry import Entry, Input, drawn, flags, integers, model, ones

__all__ = ["ENTRIES"]


def _entry(
    name: str,
    cls: str,
    inputs: dict[str, Input],
    /,
    *,
    options: dict[str, object] | None = None,
    **settings: object,
) -> Entry:
    return Entry(name, model(cls, **settings), inputs, "transformers", options=options or {})


_PATCH = {
    "num_input_channels": 3,
    "context_length": 32,
    "patch_length": 8,
    "patch_stride": 4,
    "d_model": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "ffn_dim": 24,
    "prediction_length": 6,
}
_PAST = {
    "past_values": drawn(28),
    "past_time_features": drawn(28, 2),
    "past_observed_mask": ones(28),
    "static_categorical_features": integers(0, 5, 1),
    "future_values": drawn(4),
    "future_time_features": drawn(4, 2),
}
_FORECAST = {
    "prediction_length": 4,
    "context_length": 21,
    "lags_sequence": [1, 2, 7],
    "num_time_features": 2,
    "num_static_categorical_features": 1,
    "cardinality": [5],
    "embedding_dimension": [4],
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
}

ENTRIES = [
    _entry("PatchTST", "PatchTSTForPrediction", {"past_values": drawn(32, 3)}, **_PATCH),
    _entry(
        "PatchTST, observed mask",
        "PatchTSTModel",
        {"past_values": drawn(32, 3), "past_observed_mask": flags(32, 3)},
        **_PATCH,
    ),
    _entry(
        "PatchTST classification",
        "PatchTSTForClassification",
        {"past_values": drawn(32, 3)},
        num_targets=4,
        use_cls_token=True,
        **_PATCH,
    ),
    _entry(
        "PatchTSMixer",
        "PatchTSMixerForPrediction",
        {"past_values": drawn(32, 3)},
        **{
            **{
                k: v
                for k, v in _PATCH.items()
                if k not in ("num_hidden_layers", "num_attention_heads", "ffn_dim")
            },
            "num_layers": 2,
        },
    ),
    _entry(
        "PatchTSMixer, gated attention",
        "PatchTSMixerModel",
        {"past_values": drawn(32, 3)},
        **{
            **{
                k: v
                for k, v in _PATCH.items()
                if k not in ("num_hidden_layers", "num_attention_heads", "ffn_dim")
            },
            "num_layers": 2,
            "mode": "mix_channel",
            "self_attn": True,
        },
    ),
    _entry(
        "Time series transformer",
        "TimeSeriesTransformerModel",
        _PAST,
        options={"use_cache": False},
        **_FORECAST,
    ),
    _entry(
        "Informer",
        "InformerModel",
        _PAST,
        options={"use_cache": False},
        attention_type="full",
        **_FORECAST,
    ),
    _entry(
        "Autoformer",
        "AutoformerModel",
        _PAST,
        options={"use_cache": False},
        moving_average=5,
        autocorrelation_factor=1,
        **_FORECAST,
    ),
    _entry(
        "TimesFM",
        "TimesFmModel",
        {
            "past_values": drawn(64),
            "past_values_padding": integers(0, 1, 64),
            "freq": integers(0, 3, 1),
        },
        patch_length=8,
        context_length=64,
        horizon_length=8,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        head_dim=8,
    ),
]
