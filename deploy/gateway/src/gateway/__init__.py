"""The gateway: Envoy's configuration from one list of routes, and the API's documents that it serves."""
