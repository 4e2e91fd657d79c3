# The runtime on a CPU, with ONNX Runtime and the shipped weights; no root, nothing written but results.
#
#   docker build --tag deepmask-trt .
#   docker run --rm --read-only --tmpfs /tmp --user "$(id -u):$(id -g)" --volume "$PWD:/work" \
#       deepmask-trt photograph.jpg --overlay overlay.png
FROM python:3.13-slim AS build
WORKDIR /source
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY deepmask deepmask
COPY coco coco
COPY networks networks
COPY train train
COPY export export
COPY runtime runtime
COPY evaluate evaluate
RUN python -m venv /opt/deepmask \
    && /opt/deepmask/bin/pip install --no-cache-dir --constraint constraints.txt ".[cpu]"

FROM python:3.13-slim
COPY --from=build /opt/deepmask /opt/deepmask
ENV PATH="/opt/deepmask/bin:$PATH" \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /work
USER 10001:10001
ENTRYPOINT ["deepmask-trt-run"]
CMD ["--help"]
