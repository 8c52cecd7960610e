"""``sam3-tvm annotate``: its options, and what it says before and after the work."""
