# NVIDIA's TensorRT image: builds engines for the GPU that it runs on. The tag must hold TensorRT 11.4.
#
#   docker build -f examples/container/tensorrt.Dockerfile --build-arg TAG=... -t eutectic-tensorrt .
#   docker run --rm --gpus all -v "$PWD:/models" eutectic-tensorrt lower /models/model.onnx --saveEngine /models/model.engine
ARG TAG
FROM nvcr.io/nvidia/tensorrt:${TAG} AS build
RUN apt-get update && apt-get install -y --no-install-recommends curl libclang-dev && rm -rf /var/lib/apt/lists/*
RUN curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal
ENV PATH=/root/.cargo/bin:$PATH
WORKDIR /src
COPY . .
# The two flavours of the library exclude each other; this one is of the data centre.
RUN cargo build --release --locked --features tensorrt-enterprise

FROM nvcr.io/nvidia/tensorrt:${TAG}
COPY --from=build /src/target/release/eutectic /usr/local/bin/
ENTRYPOINT ["eutectic"]
