# Plain Debian with TensorRT for RTX: lowers and builds engines on machines without a GPU.
#
#   docker build -f examples/container/rtx.Dockerfile -t eutectic-rtx .
#   docker run --rm -v "$PWD:/models" eutectic-rtx lower /models/model.onnx --saveEngine /models/model.engine
FROM rust:1-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends libclang-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --features tensorrt

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*
# NVIDIA's wheel holds the library; its licence is NVIDIA's.
RUN python3 -m venv /opt/tensorrt && /opt/tensorrt/bin/pip install --no-cache-dir "tensorrt-rtx-cu13-libs==1.7.*"
ENV VIRTUAL_ENV=/opt/tensorrt
COPY --from=build /src/target/release/eutectic /usr/local/bin/
ENTRYPOINT ["eutectic"]
