"""The parent: which workers there are, and what becomes of them. Serves no request."""
