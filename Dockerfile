# The product's one program. `cagenut-dev` is for development and is not in the image.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /cagenut ./cmd/cagenut

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build /cagenut /cagenut
USER 65534:65534
ENTRYPOINT ["/cagenut"]
