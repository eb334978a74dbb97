"""A session as one page that works offline: what it holds is computed here, drawn by the page's own script."""
