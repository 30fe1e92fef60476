"""The errors a user can cause. Each is one line that says what is wrong, where, and what is allowed."""

from __future__ import annotations

import sys
from collections.abc import Callable


class UserError(Exception):
    """Something the user can put right; printed as it is, without a traceback. `status` is the exit status."""

    status = 1


class InputError(UserError):
    """A file the user wrote is wrong. The message begins with FILE:LINE (exit status 2)."""

    status = 2


def exit_status(command: Callable[[], int]) -> int:
    """Run a command's main function; its exit status, with a user's error as one line and Ctrl-C as a quiet 130."""
    try:
        return command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 130
