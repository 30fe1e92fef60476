"""Test, describe and sign a pushed image."""
