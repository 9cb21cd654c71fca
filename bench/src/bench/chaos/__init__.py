"""Chaos: orders, checkouts and refunds flow while parts are killed and frozen; at the end every sum must be exact."""
