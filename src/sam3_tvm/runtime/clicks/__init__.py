"""The task of clicks: the object in a picture that is clicked or boxed."""
