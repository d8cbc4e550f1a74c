"""What people say of anomalies: false alarms, and real ones."""

from metricwatch_migrations.sql import execute_file

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Give each anomaly room for what a person says of it."""
    execute_file("0003_feedback.sql")


def downgrade() -> None:
    """Forget what was said; the anomalies stay."""
    execute_file("0003_feedback_down.sql")
