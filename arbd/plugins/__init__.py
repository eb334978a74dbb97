"""What packages that add search methods and market data formats build on: names only, kept stable. See docs/plugins.md."""
