"""``sam3-tvm track``: its options, and what it says at the end."""
