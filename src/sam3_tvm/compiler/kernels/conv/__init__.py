"""Convolutions: direct, transposed, over an upsampled picture, by Winograd's, by a matrix unit."""
