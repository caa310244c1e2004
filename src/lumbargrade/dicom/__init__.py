"""Read DICOM files into slices, series and studies, and report every problem."""
