"""Attention: one kernel, and how it reads its operands and biases."""
