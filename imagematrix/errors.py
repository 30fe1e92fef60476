"""The errors a user can cause. Each is one line that says what is wrong, where, and what is allowed."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can put right; printed as it is, without a traceback. `status` is the exit status."""

    status = 1


class InputError(UserError):
    """A file the user wrote is wrong. The message begins with FILE:LINE (exit status 2)."""

    status = 2
