"""Start, train, finish, resume and sweep runs."""
