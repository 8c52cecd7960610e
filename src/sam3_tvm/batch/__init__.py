"""Looks for objects in many pictures, writes what is found as it comes, and can be gone on with."""
