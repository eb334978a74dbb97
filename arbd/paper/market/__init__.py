"""Quotes of two venues: read, checked, cached, described, made."""
