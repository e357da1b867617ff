FROM python:3.13-slim AS build
RUN python -m venv /opt/central-hub
WORKDIR /source
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY client client
COPY src src
RUN /opt/central-hub/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt "./client[nats]" ".[monitoring]"

FROM python:3.13-slim
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin hub \
 && install --directory --owner=hub --group=hub --mode=0700 /var/lib/central-hub
COPY --from=build /opt/central-hub /opt/central-hub
ENV PATH=/opt/central-hub/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CENTRAL_HUB_HOST=0.0.0.0 \
    CENTRAL_HUB_PORT=7000 \
    CENTRAL_HUB_DATA_DIR=/var/lib/central-hub \
    CENTRAL_HUB_LOG_FORMAT=json
USER 10001:10001
VOLUME /var/lib/central-hub
EXPOSE 7000
# Ready says whether this replica serves reads; it needs no token and answers for every host name.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['CENTRAL_HUB_PORT'] + '/health/ready', timeout=2)"]
ENTRYPOINT ["central-hub"]
CMD ["serve"]
