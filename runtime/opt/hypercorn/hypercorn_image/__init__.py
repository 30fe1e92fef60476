"""What runs in a Hypercorn container: configuration, launcher, workers, reloader, health check.

Imports go one way. Each of these imports from those before it, never from those after it; what is not named here is a
program, and may import from all of them:

errors, upstream, atoms, logs, app, config, listen, process, worker

`process` is the parent, as gunicorn's arbiter.py and uvicorn's supervisors/; `worker` is gunicorn's workers/. Nothing
here knows how images are built, and nothing needs more than Hypercorn and what Hypercorn installs.
"""
