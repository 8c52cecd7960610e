"""SAM 3 from Hugging Face transformers, or from a folder in its layout."""
