"""Identify the kind of a series from the words and times in its header.

``words.toml`` is the table of words with their meanings, and ``words`` reads header text with it.
``evidence`` derives contrast agent, weighting and region from a header, and ``classify`` combines
them into one of the three kinds.
"""
