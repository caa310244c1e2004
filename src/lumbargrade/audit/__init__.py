"""Find labels that are probably wrong: each check is a pure function that returns suspects."""
