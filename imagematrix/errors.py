"""The errors a user can cause. Each is one line that says what is wrong, where, and what is allowed."""

import sys
from collections.abc import Callable, Iterable


class UserError(Exception):
    """Something the user can put right; printed as it is, without a traceback. `status` is the exit status."""

    status = 1


class InputError(UserError):
    """A file the user wrote is wrong. The message begins with FILE:LINE (exit status 2)."""

    status = 2


def allowed_instead(name: str, allowed: Iterable[str]) -> str:
    """Return the end of a message about a wrong name: the one that was probably meant, and all that are allowed."""
    from difflib import get_close_matches  # only for a mistake

    names = list(allowed)
    near = get_close_matches(name, names, 1, cutoff=0.7)
    guess = f"did you mean {near[0]}? " if near else ""
    return f"{guess}allowed: {', '.join(names) or 'nothing'}"


def explained(error: Exception) -> str:
    """Return one line about what went wrong, be it our own error, the system's, or that of the container engine."""
    if isinstance(error, OSError) and error.strerror:  # the engine's errors are OSErrors too, without one
        return f"{error.filename or 'the system'}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def exit_status(command: Callable[[], int]) -> int:
    """Run a command's main function; its exit status. What a user can cause is printed as it is, Ctrl-C is quiet."""
    try:
        return command()
    except UserError as error:
        print(error, file=sys.stderr)
        return error.status
    except BrokenPipeError:
        raise
    except OSError as error:
        print(explained(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
