"""Synthetic studies in the LSDC layout: all series of a study show the same anatomy.

``anatomy`` samples a parametric spine in patient space. ``paint`` and ``render`` turn an anatomy
and a plane into an image, in any contrast. ``study`` plans the series, points and grades of a
study. ``dataset`` writes the DICOM files and tables of many studies.
"""
