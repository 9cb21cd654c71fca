# Envoy with our configuration: rendered by the same code as everywhere, then copied into the official image.
FROM python:3.11-slim AS rendered
WORKDIR /accrual
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY deploy/gateway deploy/gateway
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e deploy/gateway
ARG GATEWAY_HOST=0.0.0.0
ARG GATEWAY_PORT=8080
ARG GATEWAY_UPSTREAMS
ARG GATEWAY_JWKS_FILE=/keys/jwks.json
ARG GATEWAY_PAGES=/etc/accrual/pages
RUN python -m gateway render > /envoy.yaml

FROM envoyproxy/envoy:v1.40.0
COPY --from=rendered /envoy.yaml /etc/accrual/envoy.yaml
COPY deploy/gateway/src/gateway/pages/ /etc/accrual/pages/
COPY docs/openapi.json /etc/accrual/pages/openapi.json
CMD ["envoy", "--config-path", "/etc/accrual/envoy.yaml", "--log-level", "warning"]
