"""The model: matrix.yaml as typed, checked objects, and the lock files that go with it."""
