"""Results as DICOM objects: structured report, segmentation and summary.

highdicom is imported when an object is written or read, not before.
"""

import logging

# it logs every step
logging.getLogger("highdicom").setLevel(logging.ERROR)
