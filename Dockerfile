# One image for all processes of the shop; web, worker, Beat and migration differ only in their command.
# For your own app, replace examples/shop by it and add its requirements to ours.

FROM python:3.13-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY pyproject.toml requirements.lock README.md LICENSE ./

# Install the project's dependencies in the locked versions. An empty package stands in for the source, so Docker rebuilds
# this layer only when a dependency changes. Only wheels are installed, because the image has no compilers.
# The shop's own are a dependency group, which pip knows since 25.1.
RUN mkdir -p src/flask_nightshift && touch src/flask_nightshift/__init__.py \
 && pip install --quiet 'pip>=25.1' \
 && pip wheel --quiet --only-binary :all: --no-binary flask-nightshift --constraint requirements.lock \
      --wheel-dir /wheels '.[postgres]' --group shop \
 && rm /wheels/flask_nightshift-*.whl \
 && python -m venv --without-pip /venv \
 && pip --python /venv/bin/python install --quiet --no-index --no-deps /wheels/*.whl

COPY src src
RUN pip wheel --quiet --no-deps --wheel-dir /own . \
 && pip --python /venv/bin/python install --quiet --no-index --no-deps /own/*.whl \
 && python -m compileall -q /venv/lib


FROM python:3.13-slim
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    FLASK_APP=shop \
    SHOP_INSTANCE=/var/lib/shop \
    NIGHTSHIFT_LOG_FORMAT=json
RUN useradd --system --uid 10001 --no-create-home --home-dir /var/lib/shop --shell /usr/sbin/nologin shop \
 && install --directory --owner shop --group shop /var/lib/shop
COPY --from=build /venv /venv
WORKDIR /app
COPY docker/gunicorn.conf.py ./
COPY examples/shop shop
RUN python -m compileall -q shop
USER 10001

EXPOSE 8000
# The health check of the web process; docker-compose.yml has those of the others.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
# On SIGTERM all processes stop in order: they accept no new work and finish running work.
STOPSIGNAL SIGTERM
CMD ["gunicorn", "shop:create_app()"]
