"""A module for each page, with its actions."""
