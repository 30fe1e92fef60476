"""What runs in a Hypercorn container: configuration, launcher, workers, reloader, health check.

One module has one job; `/start.sh` runs `launcher`, `/hypercorn_conf.py` is a door to `settings`. Nothing here knows
how images are built, and nothing needs more than Hypercorn and what Hypercorn installs.
"""
