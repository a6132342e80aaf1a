"""Which parameters learn, and when: schemes, and the `Freezer` that makes a model follow one."""
