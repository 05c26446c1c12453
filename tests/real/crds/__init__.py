"""Definitions of other controllers' resources, as their own projects publish them."""
