"""The data types of the field. They use only numpy and the standard library."""
