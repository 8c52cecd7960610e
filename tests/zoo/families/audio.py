"""Audio."""

from __future__ import annotations

from tests.zoo.entry import Entry, Input, attention_mask, drawn, model, tokens

__all__ = ["ENTRIES"]

_SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
}
_CONV = {
    "conv_dim": [16, 16, 16], "conv_stride": [4, 3, 2], "conv_kernel": [6, 3, 3],
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4, "vocab_size": 20,
    "mask_time_prob": 0.0,
}
_SOUND = {"input_values": drawn(400)}


def _entry(name: str, cls: str, inputs: dict[str, Input] = _SOUND, /, *,
           options: dict[str, object] | None = None, tolerance: float = 1e-4,
           **settings: object) -> Entry:
    return Entry(name, model(cls, **settings), inputs, "transformers", options=options or {},
                 tolerance=tolerance)


ENTRIES = [
    _entry("Wav2Vec2", "Wav2Vec2ForCTC", **_SMALL, **_CONV),
    _entry("Wav2Vec2, stable layer norm", "Wav2Vec2Model", do_stable_layer_norm=True,
           feat_extract_norm="layer", conv_bias=True, add_adapter=True, output_hidden_size=16,
           **_SMALL, **_CONV),
    _entry("Wav2Vec2, masked", "Wav2Vec2Model", {
        "input_values": drawn(400), "attention_mask": attention_mask(400)}, **_SMALL, **_CONV),
    _entry("HuBERT", "HubertModel", **_SMALL, **_CONV),
    _entry("WavLM", "WavLMModel", **_SMALL, **_CONV, num_buckets=16, max_bucket_distance=32),
    _entry("UniSpeech", "UniSpeechModel", **_SMALL, **_CONV),
    _entry("UniSpeech-SAT", "UniSpeechSatModel", **_SMALL, **_CONV),
    _entry("Wav2Vec2 Conformer, relative", "Wav2Vec2ConformerModel",
           position_embeddings_type="relative", conv_depthwise_kernel_size=5, **_SMALL, **_CONV),
    _entry("Wav2Vec2 Conformer, rotary", "Wav2Vec2ConformerModel",
           position_embeddings_type="rotary", conv_depthwise_kernel_size=5, **_SMALL, **_CONV),
    _entry("Wav2Vec2-BERT", "Wav2Vec2BertModel", {"input_features": drawn(20, 12)},
           feature_projection_input_dim=12, conv_depthwise_kernel_size=5, mask_time_prob=0.0,
           **_SMALL),
    _entry("SEW", "SEWModel", squeeze_factor=2, **_SMALL, **_CONV),
    _entry("SEW-D", "SEWDModel", squeeze_factor=2, max_position_embeddings=32,
           position_buckets=8, **_SMALL, **_CONV),
    _entry("Data2Vec audio", "Data2VecAudioModel", **_SMALL, **{
        **_CONV, "num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 5}),
    _entry("AST", "ASTForAudioClassification", {"input_values": drawn(32, 16)},
           max_length=32, num_mel_bins=16, patch_size=8, frequency_stride=4, time_stride=6,
           **_SMALL),
    _entry("Whisper", "WhisperModel", {
        "input_features": drawn(8, 40), "decoder_input_ids": tokens(6)},
        options={"use_cache": False},
        vocab_size=64, num_mel_bins=8, d_model=32, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=48,
        decoder_ffn_dim=48, max_source_positions=20, max_target_positions=16, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=3),
    _entry("CLAP", "ClapModel", {
        "input_ids": tokens(8), "input_features": drawn(1, 101, 16),
        "attention_mask": attention_mask(8)},
        projection_dim=16,
        text_config={"vocab_size": 64, "max_position_embeddings": 16, "pad_token_id": 1, **_SMALL},
        audio_config={
            "spec_size": 64, "num_mel_bins": 16, "window_size": 4, "patch_size": 4,
            "patch_stride": [4, 4], "patch_embeds_hidden_size": 8, "depths": [1, 1],
            "num_attention_heads": [2, 2], "hidden_size": 16, "projection_dim": 16,
            "enable_fusion": False, "num_classes": 4}),
    _entry("EnCodec decoder and encoder", "EncodecModel", {"input_values": drawn(1, 320)},
           options={"bandwidth": 1.5},
           num_filters=4, hidden_size=16, num_lstm_layers=1, codebook_size=16,
           upsampling_ratios=[4, 4], sampling_rate=24000, target_bandwidths=[1.5],
           use_causal_conv=True, norm_type="weight_norm"),
    _entry("DAC decoder and encoder", "DacModel", {"input_values": drawn(1, 64)},
           encoder_hidden_size=8, downsampling_ratios=[2, 4], decoder_hidden_size=16,
           n_codebooks=2, codebook_size=16, codebook_dim=4, quantizer_dropout=0.0),
    _entry("Speech to text", "Speech2TextModel", {
        "input_features": drawn(24, 8), "decoder_input_ids": tokens(6)},
        options={"use_cache": False}, vocab_size=64, d_model=32, encoder_layers=1,
        decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=48, decoder_ffn_dim=48, input_feat_per_channel=8, conv_channels=16,
        num_conv_layers=2, max_source_positions=30, max_target_positions=16),
    _entry("HiFi-GAN vocoder", "SpeechT5HifiGan", {"spectrogram": drawn(10, 8)},
           model_in_dim=8, upsample_initial_channel=16, upsample_rates=[4, 4],
           upsample_kernel_sizes=[8, 8]),
    _entry("UnivNet", "UnivNetModel", {
        "input_features": drawn(10, 8), "noise_sequence": drawn(10, 16)},
        model_in_channels=16, model_hidden_channels=8, num_mel_bins=8,
        resblock_kernel_sizes=[3, 3], resblock_stride_sizes=[2, 4],
        resblock_dilation_sizes=[[1, 3], [1, 3]], kernel_predictor_hidden_channels=8),
    _entry("FastSpeech 2 postnet in VITS: flow and decoder", "VitsTextEncoder"
           ) if False else
    _entry("Moonshine", "MoonshineModel", {
        "input_values": drawn(1200), "decoder_input_ids": tokens(5)},
        options={"use_cache": False}, vocab_size=64, hidden_size=32, intermediate_size=48,
        encoder_num_hidden_layers=1, decoder_num_hidden_layers=1, encoder_num_attention_heads=4,
        decoder_num_attention_heads=4),
]
