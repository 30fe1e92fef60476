"""Runs the migrations. Several containers that start at once wait for each other."""

import logging

from alembic import context
from app.database import Base, engine
from sqlalchemy import text

logging.basicConfig(level=logging.INFO)  # a line for each migration
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(20261125)"))
        context.run_migrations()
