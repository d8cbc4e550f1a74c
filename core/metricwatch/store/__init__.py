"""What PostgreSQL holds, and the only code that speaks SQL to it."""
