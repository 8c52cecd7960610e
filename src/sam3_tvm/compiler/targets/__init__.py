"""What kernels are generated for: CPU levels, the sizes that kernels are cut by, the tuned ones."""
