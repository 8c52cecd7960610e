# The runtime alone: loads artifacts and has the command line; compiles nothing.
#
#   docker build -t sam3-tvm .
#   docker run --rm -v "$PWD:/work" sam3-tvm segment sam3-cpu photo.jpg --text dog
#
# Not built with Docker by us: where it was written there was no daemon. The same commands were run in
# a debootstrap of the same Debian instead (docs/installing.md has sizes), and hadolint finds no fault.

FROM debian:bookworm-slim AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE ./
COPY checkpoints checkpoints
COPY examples examples
COPY src src
# tokenizers brings a client for Hugging Face's hub, with which nothing here talks. The
# demonstration's model can't be compiled here.
RUN python3 -m venv /opt/sam3-tvm \
    && /opt/sam3-tvm/bin/pip install --no-cache-dir --no-compile . \
    && /opt/sam3-tvm/bin/pip uninstall -y \
        anyio click filelock fsspec h11 hf-xet httpcore2 httpx2 huggingface-hub idna PyYAML \
        tqdm truststore \
    && /opt/sam3-tvm/bin/pip uninstall -y setuptools pip \
    && rm -rf /opt/sam3-tvm/lib/python3.11/site-packages/sam3_tvm/assets/demo

FROM debian:bookworm-slim
LABEL org.opencontainers.image.licenses="Apache-2.0 AND CC0-1.0"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 sam3
COPY --from=build /opt/sam3-tvm /opt/sam3-tvm
ENV PATH="/opt/sam3-tvm/bin:$PATH" PYTHONDONTWRITEBYTECODE=1
USER 1000
WORKDIR /work
ENTRYPOINT ["sam3-tvm"]
CMD ["--help"]
