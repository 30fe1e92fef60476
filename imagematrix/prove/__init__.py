"""Proof of an image: that it starts, what it contains, where it comes from, who signed it."""
