"""What a film is written as, frame by frame, so that it can be gone on with."""
