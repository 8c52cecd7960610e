"""The task of concepts: every object in a picture that a phrase or examples describe."""
