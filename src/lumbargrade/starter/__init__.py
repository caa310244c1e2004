"""The shipped model at run time: levels, outlines, measurements and grades without training."""
