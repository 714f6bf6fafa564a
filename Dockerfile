# The serving image. Two targets, neither of which holds torch:
#   docker build --target cpu  -t foldnorm:cpu .
#   docker build --target cuda -t foldnorm:cuda .     needs the NVIDIA container toolkit to run
ARG PYTHON=3.13-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /src
RUN python -m venv /opt/foldnorm
ENV PATH=/opt/foldnorm/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pyproject.toml constraints.txt README.md LICENSE foldnorm.py ./
COPY models ./models
COPY service ./service
COPY training ./training
RUN pip install -c constraints.txt .

FROM build AS build-cpu
# The same module without CUDA, a tenth of the size; the two packages must never share a place.
RUN pip uninstall --yes onnxruntime-gpu && pip install -c constraints.txt onnxruntime

FROM build AS build-cuda
# CUDA and cuDNN as wheels, in the versions that this onnxruntime was built for.
RUN pip install -c constraints.txt 'onnxruntime-gpu[cuda,cudnn]'

FROM python:${PYTHON} AS serve
RUN useradd --system --uid 10001 --no-create-home foldnorm
ENV PATH=/opt/foldnorm/bin:$PATH PYTHONUNBUFFERED=1 \
    FOLDNORM_HOST=0.0.0.0 FOLDNORM_PORT=8000 FOLDNORM_ARTIFACTS=/srv/artifacts
COPY models/artifacts /srv/artifacts
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
ENTRYPOINT ["foldnorm-serve"]

FROM serve AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute
COPY --from=build-cuda /opt/foldnorm /opt/foldnorm

FROM serve AS cpu
COPY --from=build-cpu /opt/foldnorm /opt/foldnorm
