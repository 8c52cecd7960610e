"""Matrix products: the register tile, tasks, Strassen's algorithm, linear layers, matmul."""
