"""Redemption: how points are used at checkout, and what becomes of them as the order goes on."""
