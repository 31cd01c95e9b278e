# RSAM with all its extras. CPU: docker build -t rsam .   NVIDIA: docker build -t rsam --build-arg DEVICE=cuda .
# The database is a container of its own: see compose.yaml.
FROM python:3.12-slim-bookworm

# cpu, or cuda: which build of torch to install. CUDA's libraries come with torch; the host needs only the driver.
ARG DEVICE=cpu

RUN useradd --create-home rsam && mkdir /rsam && chown rsam /rsam
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY datasets datasets
COPY pipelines pipelines
COPY rsam_app rsam_app
RUN set -eu; \
    case "$DEVICE" in \
        cpu) backend='--torch-backend cpu' ;; \
        cuda) backend='' ;; \
        *) echo "DEVICE is cpu or cuda, not $DEVICE" >&2; exit 2 ;; \
    esac; \
    pip install --no-cache-dir uv; \
    uv pip install --system --no-cache $backend '.[all]'; \
    rm -rf /source/*

USER rsam
WORKDIR /rsam
ENV RSAM_DATA=/rsam/data
EXPOSE 5151
ENTRYPOINT ["rsam"]
CMD ["--help"]
