"""Tools that measure the picker from the outside; nothing in the package imports them."""
