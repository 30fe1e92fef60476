"""Tests of the programs that the build of an image runs."""
