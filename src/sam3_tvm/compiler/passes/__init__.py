"""Passes over Relax functions and over the TIR that they lower to; one pass a file."""
