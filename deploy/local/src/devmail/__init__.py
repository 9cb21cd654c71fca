"""A mailbox for development: takes every e-mail, delivers none, and shows them on a page."""
