# syntax=docker/dockerfile:1
# Two stages: the first installs what the locks say, the second carries only what runs.
FROM python:3.13-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements/build.txt requirements/postgres.txt requirements/
RUN python -m venv /opt/tandem \
    && /opt/tandem/bin/pip install --require-hashes -r requirements/build.txt \
    && /opt/tandem/bin/pip install --require-hashes -r requirements/postgres.txt
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY connectors connectors
COPY mappings mappings
COPY migrations migrations
COPY sandbox sandbox
RUN /opt/tandem/bin/pip install --no-deps --no-build-isolation . \
    && /opt/tandem/bin/pip uninstall --yes setuptools wheel pip

FROM python:3.13-slim-bookworm
ENV PATH=/opt/tandem/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TANDEM_HOST=0.0.0.0 \
    TANDEM_CONFIG=/etc/tandem/tandem.yml \
    TANDEM_DATABASE=sqlite:////data/tandem.db \
    TANDEM_LOG_JSON=true
# A number, so that Kubernetes can see that it is not root; no shell, no home.
RUN groupadd --gid 10001 tandem \
    && useradd --uid 10001 --gid tandem --no-create-home --shell /usr/sbin/nologin tandem \
    && install -d -o tandem -g tandem /data /etc/tandem
COPY --from=build /opt/tandem /opt/tandem
USER 10001:10001
VOLUME /data
WORKDIR /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
ENTRYPOINT ["tandem"]
CMD ["serve"]
