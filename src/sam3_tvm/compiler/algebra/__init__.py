"""Passes that rewrite what is computed: they know no target and choose no kernel."""
