"""The whole system on one machine without Docker: real Postgres, Kafka and Envoy from packages, and the services."""
