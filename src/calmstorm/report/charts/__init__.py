"""Charts as plotly figures: plain dicts, drawn by the page."""
