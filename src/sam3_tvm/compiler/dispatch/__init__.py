"""Passes that give operators their kernels."""
