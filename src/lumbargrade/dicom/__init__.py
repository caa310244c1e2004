"""DICOM files to slices, series and studies, with every problem that was found."""
