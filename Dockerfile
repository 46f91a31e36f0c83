# One file, three images over one shared layer: scraper, trainer, server.
#
#   docker build --target server -t graildient-server:0.1.0 .
#   buildah bud --target server -t graildient-server:0.1.0 --build-arg BASE=localhost/python311 .
#
# BASE: any image with Python 3.11 and its venv module. Everything else comes from the locks in requirements/.
ARG BASE=python:3.11-slim-bookworm

# The user, the environment, and nothing else.
FROM ${BASE} AS base
RUN groupadd --gid 65532 graildient \
 && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin graildient \
 && python3 -c 'import sys; assert sys.version_info[:2] == (3, 11), sys.version' \
 && python3 -m venv /opt/venv
# The root file system is read-only in a pod: HOME and the working directory are the only places to write to.
ENV PATH=/opt/venv/bin:/app/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONNOUSERSITE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    HOME=/tmp \
    USER=graildient \
    FEAST_USAGE=False \
    RAY_USAGE_STATS_ENABLED=0

# The locks, one requirement a line; what all three have in common; and the project, built with the locked setuptools.
FROM base AS project
WORKDIR /build
COPY requirements ./requirements
RUN for room in scraper server trainer; do \
        sed '/^ *#/d' requirements/$room.txt | sed ':a;/\\$/N;s/\\\n */ /;ta' | sort > $room.lock; \
    done \
 && sort scraper.lock server.lock trainer.lock | uniq -c | sed -n 's/^ *3 //p' > shared.lock \
 && grep '^setuptools==' server.lock > setuptools.lock \
 && pip install --require-hashes -r setuptools.lock
COPY pyproject.toml README.md LICENSE ./
COPY graildient ./graildient
COPY scrapers ./scrapers
COPY feature_repo ./feature_repo
COPY training ./training
COPY pipelines ./pipelines
COPY serving ./serving
RUN pip install --no-deps --no-build-isolation --target /app .

# What every room needs (Arrow, DuckDB, pandas, NumPy, S3): most of the bytes, stored and pulled once.
FROM base AS shared
COPY --from=project /build/*.lock /opt/
RUN pip install --no-deps --require-hashes -r /opt/shared.lock

FROM shared AS scraper
RUN pip install --no-deps --require-hashes -r /opt/scraper.lock
COPY --from=project /app /app
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="graildient-scraper" \
      org.opencontainers.image.description="Scrapes sold listings into the lake." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT"
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["graildient"]
CMD ["scrape"]

FROM shared AS trainer
RUN pip install --no-deps --require-hashes -r /opt/trainer.lock
COPY --from=project /app /app
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="graildient-trainer" \
      org.opencontainers.image.description="Searches, trains, evaluates, gates and registers price models." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT"
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["graildient"]
CMD ["pipeline", "run"]

FROM shared AS server
RUN pip install --no-deps --require-hashes -r /opt/server.lock
COPY --from=project /app /app
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="graildient-server" \
      org.opencontainers.image.description="Serves prices over REST and gRPC; builds and materialises features." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT"
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080 8081
ENTRYPOINT ["graildient"]
CMD ["serve"]
