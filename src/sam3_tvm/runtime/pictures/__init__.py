"""Pictures: read, resampled for the model, encoded by it, and drawn on."""
