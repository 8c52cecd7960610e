"""Artifacts for other machines, run on emulated ones (QEMU's user mode) and compared with this one.

``make test-aarch64``, or ``python -m tests.emulated``; docs/cross-compiling.md has what came of it.
"""
