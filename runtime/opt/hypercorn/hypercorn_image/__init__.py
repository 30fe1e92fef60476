# SPDX-License-Identifier: MIT
"""What runs in a Hypercorn container: configuration, launcher, workers, reloader, health check.

Imports go one way: each of these imports only from those before it. A module that is not named here is a program and
may import from all of them.

errors, upstream, atoms, logs, app, config, listen, process, worker

`process` is the parent process, like gunicorn's arbiter.py and uvicorn's supervisors/. `worker` is like gunicorn's
workers/. Nothing here knows how images are built, or needs more than Hypercorn and its dependencies.
"""
