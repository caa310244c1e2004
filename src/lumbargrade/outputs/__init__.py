"""What people look at: submission CSV, pictures, learning curves, HTML pages."""
