"""The shared folder: its layout, its files, and the rules by which many hosts use it at once."""
