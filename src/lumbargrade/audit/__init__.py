"""Which labels are wrong: checks of LSDC tables, each a pure function to ranked suspects."""
