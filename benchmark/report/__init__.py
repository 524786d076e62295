"""The report of a matrix: results and traces in, one HTML file and one Markdown file out."""
