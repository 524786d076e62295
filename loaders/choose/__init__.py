"""Manifest → index: what a loader must know of every chosen sample."""
