# SPDX-License-Identifier: MIT
"""A worker: serves the application on one event loop until it is told to stop. `running` is the way in."""
