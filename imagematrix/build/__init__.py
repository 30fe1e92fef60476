"""Build images on the local container engine. Not for publishing."""
