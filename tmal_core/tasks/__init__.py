"""One file per thing a user runs; notebooks and the command line call these."""
