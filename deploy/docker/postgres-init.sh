#!/bin/bash
# Runs once, in a new Postgres container: each service's roles and database, from the script that local runs use too.
set -euo pipefail
for service in ledger rules redemption notifications; do
	psql --username "$POSTGRES_USER" --dbname postgres --set ON_ERROR_STOP=1 \
		--set owner="${service}_owner" --set app="$service" --set database="$service" \
		--set owner_password="$SERVICES_PASSWORD" --set app_password="$SERVICES_PASSWORD" \
		--file /accrual/service.sql
done
