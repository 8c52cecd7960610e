"""Films by phrase: what a detector finds on every frame, and objects that are followed from it."""
