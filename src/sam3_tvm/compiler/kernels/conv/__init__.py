"""Convolutions: direct, transposed, over an upsampled picture, by Winograd's algorithm."""
