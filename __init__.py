"""mmearth: curate, package, query, stream and benchmark multimodal Earth-observation datasets."""

__version__ = "0.1.0"
