"""Loads compiled functions and calls them: threads, memory, and the checks of a call."""
