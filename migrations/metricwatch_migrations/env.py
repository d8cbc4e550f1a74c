"""What Alembic runs for each command: migrate over the connection that `apply` has opened.

Transaction and advisory lock are `apply`'s, so that all revisions commit together or not at all.
"""

from alembic import context


def run() -> None:
    """Run the migrations of the command at hand."""
    context.configure(connection=context.config.attributes["connection"])
    with context.begin_transaction():
        context.run_migrations()


# The name under which Alembic loads this file; anything else only looks at it.
if __name__ == "env_py":
    run()
