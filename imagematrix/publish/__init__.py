"""From proved images to tags in a registry."""
