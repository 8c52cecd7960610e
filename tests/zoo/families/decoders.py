"""Language models of one decoder, without a cache: a prompt in, logits out."""

from __future__ import annotations

from tests.zoo.entry import Entry, Input, attention_mask, model, tokens

__all__ = ["ENTRIES"]

_SMALL = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = {**_SMALL, "num_key_value_heads": 2}
_GPT2 = {
    "vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32, "n_inner": 48,
    "bos_token_id": 1, "eos_token_id": 2,
}
_MASKED = {"input_ids": tokens(8), "attention_mask": attention_mask(8)}
_PLAIN = {"input_ids": tokens(8)}


def _entry(name: str, cls: str, inputs: dict[str, Input] = _MASKED, /, *,
           tolerance: float = 1e-4, **settings: object) -> Entry:
    return Entry(name, model(cls, **settings), inputs, "transformers",
                 options={"use_cache": False}, tolerance=tolerance)


ENTRIES = [
    _entry("GPT", "OpenAIGPTLMHeadModel", **_GPT2) if False else Entry(
        "GPT", model("OpenAIGPTLMHeadModel", vocab_size=64, n_embd=32, n_layer=2, n_head=4,
                     n_positions=32), _MASKED, "transformers"),
    _entry("GPT-2", "GPT2LMHeadModel", **_GPT2),
    _entry("GPT-Neo", "GPTNeoForCausalLM", vocab_size=64, hidden_size=32, num_layers=2,
           attention_types=[[["global", "local"], 1]], num_heads=4, window_size=4,
           max_position_embeddings=32),
    _entry("GPT-NeoX", "GPTNeoXForCausalLM", **_SMALL),
    _entry("GPT-J", "GPTJForCausalLM", rotary_dim=4, **_GPT2),
    _entry("GPT-BigCode", "GPTBigCodeForCausalLM", multi_query=True, **_GPT2),
    _entry("CodeGen", "CodeGenForCausalLM", rotary_dim=4, **_GPT2),
    _entry("OPT", "OPTForCausalLM", ffn_dim=48, word_embed_proj_dim=16, **_SMALL),
    _entry("BLOOM", "BloomForCausalLM", vocab_size=64, hidden_size=32, n_layer=2, n_head=4),
    _entry("MPT", "MptForCausalLM", vocab_size=64, d_model=32, n_layers=2, n_heads=4,
           max_seq_len=32),
    _entry("Falcon", "FalconForCausalLM", multi_query=True, parallel_attn=True, **_SMALL),
    _entry("Falcon, ALiBi", "FalconForCausalLM", alibi=True, new_decoder_architecture=True,
           num_kv_heads=2, **_SMALL),
    _entry("Llama", "LlamaForCausalLM", **_GROUPED),
    _entry("Llama, no mask", "LlamaModel", _PLAIN, **_GROUPED),
    _entry("Llama 3 rotary scaling", "LlamaForCausalLM", rope_parameters={
        "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 16}, **_GROUPED),
    _entry("Llama, YaRN", "LlamaForCausalLM", rope_parameters={
        "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
        "original_max_position_embeddings": 8}, **_GROUPED),
    _entry("Mistral, sliding window", "MistralForCausalLM", sliding_window=4, **_GROUPED),
    _entry("Mixtral", "MixtralForCausalLM", num_local_experts=4, num_experts_per_tok=2, **_GROUPED),
    _entry("Qwen2", "Qwen2ForCausalLM", **_GROUPED),
    _entry("Qwen2 MoE", "Qwen2MoeForCausalLM", num_experts=4, num_experts_per_tok=2,
           moe_intermediate_size=24, shared_expert_intermediate_size=24, **_GROUPED),
    _entry("Qwen3", "Qwen3ForCausalLM", head_dim=8, **_GROUPED),
    _entry("Qwen3 MoE", "Qwen3MoeForCausalLM", head_dim=8, num_experts=4, num_experts_per_tok=2,
           moe_intermediate_size=24, **_GROUPED),
    _entry("Gemma", "GemmaForCausalLM", head_dim=8, **_GROUPED),
    _entry("Gemma 2", "Gemma2ForCausalLM", head_dim=8, sliding_window=4,
           query_pre_attn_scalar=8, **_GROUPED),
    _entry("Gemma 3", "Gemma3ForCausalLM", head_dim=8, sliding_window=4,
           query_pre_attn_scalar=8, **_GROUPED),
    _entry("Phi", "PhiForCausalLM", qk_layernorm=True, **_GROUPED),
    _entry("Phi-3", "Phi3ForCausalLM", **_GROUPED),
    _entry("StableLM", "StableLmForCausalLM", use_parallel_residual=True, **_GROUPED),
    _entry("StarCoder2", "Starcoder2ForCausalLM", **_GROUPED),
    _entry("Granite", "GraniteForCausalLM", embedding_multiplier=2.0, logits_scaling=3.0,
           **_GROUPED),
    _entry("OLMo 2", "Olmo2ForCausalLM", **_GROUPED),
    _entry("Cohere", "CohereForCausalLM", **_GROUPED),
    _entry("Persimmon", "PersimmonForCausalLM", **_SMALL),
    _entry("DeepSeek V3", "DeepseekV3ForCausalLM", **_SMALL, num_key_value_heads=4,
           moe_intermediate_size=24, q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=8,
           qk_nope_head_dim=8, v_head_dim=8, n_routed_experts=4, num_experts_per_tok=2, n_group=2,
           topk_group=1, first_k_dense_replace=1),
    _entry("GPT-OSS", "GptOssForCausalLM", head_dim=8, num_local_experts=4, num_experts_per_tok=2,
           sliding_window=4, **_GROUPED),
    _entry("XGLM", "XGLMForCausalLM", vocab_size=64, d_model=32, num_layers=2, attention_heads=4,
           ffn_dim=48, max_position_embeddings=32),
    _entry("CTRL", "CTRLLMHeadModel", vocab_size=64, n_embd=32, n_layer=2, n_head=4, dff=48,
           n_positions=32),
    _entry("BioGPT", "BioGptForCausalLM", **_SMALL),
    _entry("Mamba", "MambaForCausalLM", _PLAIN, vocab_size=64, hidden_size=16, state_size=4,
           num_hidden_layers=1, conv_kernel=3, pad_token_id=0),
    _entry("Mamba 2", "Mamba2ForCausalLM", _PLAIN, vocab_size=64, hidden_size=16, state_size=4,
           num_hidden_layers=1, head_dim=8, num_heads=4, n_groups=2, chunk_size=4, expand=2),
    _entry("RWKV", "RwkvForCausalLM", _PLAIN, vocab_size=64, hidden_size=16,
           num_hidden_layers=2, attention_hidden_size=16, context_length=16),
    _entry("RecurrentGemma", "RecurrentGemmaForCausalLM", **_SMALL, num_key_value_heads=1,
           lru_width=32, attention_window_size=4, head_dim=8, num_hidden_layers_=3),
    _entry("LFM2", "Lfm2ForCausalLM", layer_types=["conv", "full_attention"], **_GROUPED),
    _entry("SmolLM3", "SmolLM3ForCausalLM", no_rope_layers=[1, 0], **_GROUPED),
]
