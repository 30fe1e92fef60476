#!/bin/sh
# Runs once in each container, before the server. If it fails, the container stops with its exit status.
set -e
alembic upgrade head
