"""Which of the three kinds a series is, from the words and the times in its header.

``words.toml`` is the table of words with their meanings, and ``words`` reads a header's text with
it. ``evidence`` says what a header tells of contrast agent, weighting and region, and ``classify``
puts the answers together.
"""
