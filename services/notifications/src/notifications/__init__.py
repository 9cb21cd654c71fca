"""Notifications: tells members, and their shops' systems, what happened to points, once each."""
