"""Which of the three kinds a series is, from the words and the times in its header.

``series_words``, ``contrast_words`` and ``region_words`` are tables of words and phrases with their
meanings; ``phrases`` reads a header's text with them. ``contrast``, ``weighting`` and ``region``
answer one question each, and ``classify`` puts the answers together.
"""
