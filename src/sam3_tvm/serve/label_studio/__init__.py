"""The server as an ML backend of Label Studio."""
