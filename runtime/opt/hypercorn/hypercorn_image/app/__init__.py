# SPDX-License-Identifier: MIT
"""The application: finding and importing it, its kind, its lifespan."""
