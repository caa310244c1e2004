"""Results as DICOM objects: structured report, segmentation and summary.

highdicom is imported when an object is written or read, not before.
"""
