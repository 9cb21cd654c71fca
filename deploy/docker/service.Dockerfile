# One of our Python packages as an image: the same wheels as everywhere, checked by their hashes.
FROM python:3.11-slim
WORKDIR /accrual

COPY requirements.lock requirements-dev.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
# What this package needs beyond the services' own list: those entries of the development list, hashes and all.
ARG EXTRA=""
RUN awk -v names="$EXTRA" 'BEGIN { split(names, list, " "); for (i in list) wanted[list[i]] } \
        /^[a-z0-9]/ { split($1, entry, "=="); keep = (entry[1] in wanted) } keep' requirements-dev.lock > extra.lock \
    && pip install --no-cache-dir --require-hashes -r extra.lock

COPY libs/contracts libs/contracts
COPY libs/chassis libs/chassis
ARG PACKAGE
COPY ${PACKAGE} ${PACKAGE}
# Editable, because a service finds its migrations beside its code.
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e libs/contracts -e libs/chassis -e ${PACKAGE}

RUN useradd --uid 10001 --create-home accrual && mkdir /keys /seals && chown accrual /keys /seals
USER accrual
ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["python", "-m"]
