"""Models judged on studies they have not seen, and what is fitted to that."""
