"""The first schema."""

from metricwatch_migrations.sql import execute_file

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table."""
    execute_file("0001_init.sql")


def downgrade() -> None:
    """Drop every table, with all that is in them."""
    execute_file("0001_init_down.sql")
