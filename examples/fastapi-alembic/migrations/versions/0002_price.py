"""Products have a price. The default lets the version before go on while this one is rolled out."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("products", sa.Column("price", sa.Integer, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("products", "price")
