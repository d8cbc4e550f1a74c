"""The life of versions: readiness, take-over, shards of a run, drift."""

from metricwatch_migrations.sql import execute_file

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what the life of a version needs."""
    execute_file("0002_versions.sql")


def downgrade() -> None:
    """Take it away again; versions and their artifacts stay."""
    execute_file("0002_versions_down.sql")
