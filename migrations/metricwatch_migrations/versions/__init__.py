"""One module a revision; what it does is in the SQL file of the same number."""
