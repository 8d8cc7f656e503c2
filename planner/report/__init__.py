"""One structured report, rendered to HTML and Markdown."""
