"""A DICOM node that grades the studies which a PACS sends, and sends the results back."""
