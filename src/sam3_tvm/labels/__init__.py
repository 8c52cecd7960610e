"""What label tools speak: their prompts, their shapes, their run lengths."""
