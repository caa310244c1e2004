"""Write files atomically, and read them strictly with errors that name every fault."""
