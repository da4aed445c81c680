"""Charts: plain dicts for plotly, drawn by the page."""
