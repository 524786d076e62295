"""Google Earth Engine as a source; its parts import the client, which is an extra."""
