# SPDX-License-Identifier: MIT
"""The PROXY protocol: before each connection, and before its TLS, a trusted proxy sends the client's address."""
