"""The errors a user can cause. Each is one line that says what is wrong, where, and what is allowed."""

import sys
from collections.abc import Callable, Iterable


class UserError(Exception):
    """An error that the user can fix. It is printed without a traceback. `status` is the exit status."""

    status = 1


class InputError(UserError):
    """A file or an option is wrong. For a file, the message begins with FILE:LINE. The exit status is 2."""

    status = 2


def allowed_instead(name: str, allowed: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the most similar name, and all that are allowed."""
    from difflib import get_close_matches  # needed only after a mistake

    names = list(allowed)
    near = get_close_matches(name, names, 1, cutoff=0.7)
    guess = f"did you mean {near[0]}? " if near else ""
    return f"{guess}allowed: {', '.join(names) or 'nothing'}"


def explained(error: Exception) -> str:
    """Return one line that describes an error: our own, the system's or the container engine's."""
    if isinstance(error, OSError) and error.strerror:  # the engine's errors are OSErrors without it
        return f"{error.filename or 'the system'}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def exit_status(command: Callable[[], int]) -> int:
    """Run a command's main function and return its exit status. An error that the user can fix is printed."""
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
