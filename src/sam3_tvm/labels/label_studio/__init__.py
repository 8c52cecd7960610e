"""Label Studio: its labelling configuration, its regions, the run lengths of its brush."""
