"""Grades lumbar-spine MRI studies: canal, foraminal and subarticular stenosis at five disc levels."""

__version__ = "0.1.0"
