# SPDX-License-Identifier: MIT
"""The listening sockets: opened once, shared by the workers, closed without losing a connection."""
