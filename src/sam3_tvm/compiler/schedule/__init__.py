"""Loops for the operators that have no kernel of ours."""
