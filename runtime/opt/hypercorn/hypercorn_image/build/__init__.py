# SPDX-License-Identifier: MIT
"""Programs that the build of an image runs; no server imports them."""
