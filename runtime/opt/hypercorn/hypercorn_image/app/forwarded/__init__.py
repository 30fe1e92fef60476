# SPDX-License-Identifier: MIT
"""Behind a trusted proxy: a request's scope gets what the X-Forwarded-* or Forwarded headers say."""
