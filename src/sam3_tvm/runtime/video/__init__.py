"""The task of video: objects that are followed from frame to frame."""
