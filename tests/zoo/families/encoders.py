"""Text encoders."""

from __future__ import annotations

from tests.zoo.entry import Entry, Input, attention_mask, features, integers, model, tokens

__all__ = ["ENTRIES"]

_SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 32,
    "pad_token_id": 1,
}
_TEXT = {"input_ids": tokens(8), "attention_mask": attention_mask(8)}


def _entry(
    name: str,
    cls: str,
    inputs: dict[str, Input] = _TEXT,
    /,
    *,
    options: dict[str, object] | None = None,
    tolerance: float = 1e-4,
    **settings: object,
) -> Entry:
    kept = {k: v for k, v in {**_SMALL, **settings}.items() if v is not None}
    return Entry(
        name, model(cls, **kept), inputs, "transformers", options=options or {}, tolerance=tolerance
    )


ENTRIES = [
    _entry("BERT", "BertForTokenClassification"),
    _entry(
        "BERT, embeddings given",
        "BertModel",
        {"inputs_embeds": features(8, 32), "attention_mask": attention_mask(8)},
    ),
    _entry(
        "BERT, causal decoder", "BertLMHeadModel", is_decoder=True, options={"use_cache": False}
    ),
    _entry("RoBERTa", "RobertaForSequenceClassification"),
    _entry("XLM-RoBERTa XL", "XLMRobertaXLModel"),
    _entry("RoBERTa, layer norm first", "RobertaPreLayerNormModel"),
    _entry("DistilBERT", "DistilBertModel", dim=32, n_layers=2, n_heads=4, hidden_dim=48),
    _entry("ALBERT", "AlbertModel", embedding_size=16),
    _entry("ELECTRA", "ElectraForPreTraining", embedding_size=16),
    _entry(
        "DeBERTa",
        "DebertaModel",
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        max_relative_positions=-1,
        position_biased_input=False,
    ),
    _entry(
        "DeBERTa V2",
        "DebertaV2Model",
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        position_buckets=4,
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        conv_kernel_size=3,
    ),
    _entry("MPNet", "MPNetModel"),
    _entry(
        "XLNet",
        "XLNetModel",
        max_position_embeddings=None,
        d_model=32,
        n_layer=2,
        n_head=4,
        d_inner=48,
        options={"use_mems": False},
    ),
    _entry("FNet", "FNetModel", {"input_ids": tokens(8)}),
    _entry(
        "Funnel",
        "FunnelModel",
        num_hidden_layers=None,
        d_model=32,
        n_head=4,
        d_head=8,
        d_inner=48,
        block_sizes=[1, 1],
        num_decoder_layers=1,
    ),
    _entry("Longformer", "LongformerModel", attention_window=4),
    _entry("BigBird, full", "BigBirdModel", attention_type="original_full"),
    _entry("ConvBERT", "ConvBertModel", embedding_size=16, conv_kernel_size=3, head_ratio=2),
    _entry(
        "SqueezeBERT",
        "SqueezeBertModel",
        embedding_size=32,
        q_groups=2,
        k_groups=2,
        v_groups=2,
        post_attention_groups=1,
        intermediate_groups=2,
        output_groups=2,
    ),
    _entry(
        "MobileBERT",
        "MobileBertModel",
        embedding_size=16,
        true_hidden_size=16,
        intra_bottleneck_size=16,
        num_feedforward_networks=2,
    ),
    _entry("I-BERT", "IBertModel", quant_mode=False),
    _entry(
        "Nyströmformer",
        "NystromformerModel",
        {"input_ids": tokens(16)},
        num_landmarks=4,
        segment_means_seq_len=16,
        conv_kernel_size=3,
        max_position_embeddings=16,
    ),
    _entry("RoFormer", "RoFormerModel", embedding_size=32),
    _entry("RemBERT", "RemBertModel", input_embedding_size=16, output_embedding_size=16),
    _entry(
        "ModernBERT",
        "ModernBertModel",
        global_attn_every_n_layers=2,
        local_attention=4,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
    ),
    _entry("NomicBERT", "NomicBertModel"),
    _entry(
        "EuroBERT",
        "EuroBertModel",
        num_key_value_heads=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    ),
    _entry(
        "ESM", "EsmModel", position_embedding_type="rotary", token_dropout=True, mask_token_id=4
    ),
    _entry(
        "LUKE",
        "LukeModel",
        {
            "input_ids": tokens(8),
            "attention_mask": attention_mask(8),
            "entity_ids": integers(1, 9, 3),
            "entity_attention_mask": integers(1, 2, 3),
            "entity_position_ids": integers(0, 8, 3, 4),
        },
        entity_vocab_size=10,
        entity_emb_size=16,
    ),
    _entry("Splinter", "SplinterModel"),
    _entry(
        "TAPAS",
        "TapasModel",
        {
            "input_ids": tokens(8),
            "attention_mask": attention_mask(8),
            "token_type_ids": integers(0, 2, 8, 7),
        },
        type_vocab_sizes=[3, 4, 4, 4, 4, 4, 4],
    ),
    _entry(
        "CANINE",
        "CanineModel",
        {"input_ids": tokens(16, 200), "attention_mask": attention_mask(16)},
        num_hash_buckets=32,
        local_transformer_stride=4,
        downsampling_rate=4,
        upsampling_kernel_size=4,
        bos_token_id=1,
        eos_token_id=2,
    ),
    _entry("YOSO, expected", "YosoModel", use_expectation=True),
    _entry("Megatron BERT", "MegatronBertModel"),
    _entry("X-MOD", "XmodModel", languages=["de", "fr"], default_language="de"),
    _entry("DPR", "DPRContextEncoder", projection_dim=8),
]
