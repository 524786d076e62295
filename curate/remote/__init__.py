"""Rasters on servers: the blocks that are needed, in a sparse copy that GDAL opens as a file."""
