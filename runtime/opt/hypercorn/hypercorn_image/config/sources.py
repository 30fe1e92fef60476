# SPDX-License-Identifier: MIT
"""Finds the configuration file or module that is used, and reads it into a `hypercorn.Config`.

`settings` makes the included configuration from variables. `checking` checks a user's values.
"""

import importlib
import importlib.util
import os
import sys
import traceback
import types
from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Optional, Tuple, Type

from hypercorn_image.config import checking, image, settings
from hypercorn_image.config.problems import Problems
from hypercorn_image.errors import StartError

if TYPE_CHECKING:
    from hypercorn.config import Config

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(image.PACKAGE)))
INCLUDED = os.path.join(_ROOT, "hypercorn_conf.py")
_INCLUDED_NAME = "hypercorn_conf"


def find(variables: Mapping[str, Any], app_directory: str, problems: Problems) -> Optional[str]:
    """Return which configuration is used, as `file:`, `python:` or a TOML file's path; None if it does not exist."""
    named: Optional[str] = variables.get("HYPERCORN_CONF")
    if named is None:
        for path in (
            os.path.join(app_directory, "app", "hypercorn_conf.py"),
            os.path.join(app_directory, "hypercorn_conf.py"),
        ):
            if os.path.isfile(path):
                return "file:" + path
        return "file:" + INCLUDED
    if named.startswith("python:"):
        return named
    path = named[5:] if named.startswith("file:") else named
    if not os.path.isfile(path):
        problems.add(
            "HYPERCORN_CONF",
            f"HYPERCORN_CONF={named!r} does not exist: file:PATH.py, python:MODULE, or the path of a .py or TOML file",
        )
        return None
    return "file:" + path if path.endswith(".py") or named.startswith("file:") else path


def read(source: str) -> "Config":
    """Read a user's configuration; raises StartError with one line for each value or option that is not allowed."""
    if source.startswith("file:"):
        return _from_python(lambda: _run_file(source[5:]), source)
    if source.startswith("python:"):
        return _from_python(lambda: _import_module(source[7:]), source)
    return _from_toml(source)


def _made(make: Callable[[Type["Config"]], "Config"]) -> Tuple["Config", Dict[str, Any]]:
    """Return the configuration that `make` makes with Hypercorn's class, and all that it was given."""
    from hypercorn.config import Config

    given: Dict[str, Any] = {}

    class Recording(Config):
        @classmethod
        def from_mapping(cls, mapping: Optional[Mapping[str, Any]] = None, **kwargs: Any) -> Config:
            given.update(mapping or {}, **kwargs)
            return Config.from_mapping(given)

    return make(Recording), given


def _from_toml(path: str) -> "Config":
    try:
        config, given = _made(lambda kind: kind.from_toml(path))
    except (OSError, ValueError) as error:
        raise StartError([f"the configuration {path} cannot be read: {error}"]) from None
    problems = checking.unknown(given, path) + checking.check(config, given, path)
    if problems:
        raise StartError(problems)
    return config


def _from_python(run: Callable[[], Any], source: str) -> "Config":
    """Run a user's Python configuration. An exception in it is reported with its traceback."""
    from hypercorn.config import Config

    with_included = _Included()
    before = sys.modules.pop(_INCLUDED_NAME, None)
    if source != "python:" + _INCLUDED_NAME:
        sys.meta_path.insert(0, with_included)
    try:
        found = run()
        if isinstance(found, Config):
            config, given = found, vars(found)
        else:
            config, given = _made(lambda kind: kind.from_object(found))
    except StartError:
        raise
    except (Exception, SystemExit) as error:  # `sys.exit` in it must not end a server that reloads
        line = f"the configuration {source} failed: {type(error).__name__}: {error}"
        raise StartError([line], "".join(traceback.format_exc())) from None
    finally:
        if with_included in sys.meta_path:
            sys.meta_path.remove(with_included)
        if before is not None:
            sys.modules[_INCLUDED_NAME] = before
    own = {name: value for name, value in given.items() if not with_included.gave(name, value)}
    problems = checking.misspelt(own, source) + checking.check(config, given, source)
    if problems:
        raise StartError(problems)
    return config


class _Included:
    """Makes `import hypercorn_conf` import the image's configuration, which is computed then.

    A user's /app/hypercorn_conf.py with `from hypercorn_conf import *` would import itself otherwise. The environment
    is read again, because that file may have changed it.
    """

    def __init__(self) -> None:
        self._values: Dict[str, Any] = {}

    def find_spec(self, name: str, *_: Any) -> Any:
        return importlib.util.spec_from_loader(name, self) if name == _INCLUDED_NAME else None  # type: ignore[arg-type]

    def create_module(self, _: Any) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        problems = Problems()
        self._values = settings.from_environment(os.environ, problems)
        if problems.lines:
            raise StartError(problems.lines)
        vars(module).update(self._values, __all__=sorted(self._values))

    def gave(self, name: str, value: Any) -> bool:
        """Tell whether a variable of the user's module is one of these values, unchanged."""
        return name in self._values and self._values[name] is value


def _run_file(path: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("hypercorn_conf_of_user", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _import_module(name: str) -> Any:
    sys.modules.pop(name, None)  # read again at a SIGHUP
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        if not module:
            raise
        return getattr(importlib.import_module(module), attribute)
