"""Clips of moving shapes, and the tracker that is trained on them beside a frozen detector."""
