"""Container engine, base images and stand-ins for machines without a registry. Knows nothing of the matrix."""
