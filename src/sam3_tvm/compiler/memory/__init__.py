"""What moves to compile time, and where values lie at run time."""
