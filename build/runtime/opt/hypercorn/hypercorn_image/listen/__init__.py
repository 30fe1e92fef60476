"""The listening sockets: opened once, shared or handed on, closed without losing a connection."""
