"""Synthetic studies: one anatomy in patient space, seen by every series, in the LSDC layout.

Three separate steps: ``anatomy`` (parametric, millimetres), ``tissue`` with ``acquisition``
(an anatomy and a plane to an array, in any contrast), ``study`` with ``writer`` (series, tables,
DICOM files). ``dataset`` runs them over many studies.
"""
