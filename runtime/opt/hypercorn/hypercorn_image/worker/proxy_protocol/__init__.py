"""The PROXY protocol: a trusted proxy says before each connection, and before its TLS, whose connection it is."""
