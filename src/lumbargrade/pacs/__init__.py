"""Other DICOM systems: sends files by C-STORE or STOW-RS, fetches studies by DICOMweb."""
