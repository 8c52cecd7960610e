"""Compute kernels as TIR, generated for a :class:`~sam3_tvm.compiler.targets.cpu.CpuTarget`."""
