"""What passes ask of a Relax function, and how they give its variables new values."""
