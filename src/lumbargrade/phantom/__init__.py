"""Synthetic studies: anatomy in millimetres, contrast and acquisition, files in the LSDC layout."""
