"""The published HDF5 layout of MMEarth-Bench, read into a dataset and written from one."""
