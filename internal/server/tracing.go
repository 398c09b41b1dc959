package server

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	temporal "go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/opentelemetry"

	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/version"
)

// traceConnection makes workflows, activities and the starting of operations show as OpenTelemetry
// spans at the collector of telemetry.otlp (OTLP over gRPC, plain text: the collector stands on the
// same machine). With no collector configured it changes nothing. The returned function sends what is
// left; a collector that is away never holds up the work.
func traceConnection(ctx context.Context, conn *operation.Connection, collector, service string, log *slog.Logger) (stop func(), err error) {
	if collector == "" {
		return func() {}, nil
	}
	exporter, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(collector), otlptracegrpc.WithInsecure())
	if err != nil {
		return nil, fmt.Errorf("telemetry.otlp: %w", err)
	}
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(resource.NewSchemaless(
		attribute.String("service.name", service), attribute.String("service.version", version.String()))))
	tracing, err := opentelemetry.NewTracingInterceptor(opentelemetry.TracerOptions{Tracer: provider.Tracer("cagenut")})
	if err != nil {
		return nil, fmt.Errorf("telemetry.otlp: %w", err)
	}
	before := conn.Options
	conn.Options = func(o *temporal.Options) {
		if before != nil {
			before(o)
		}
		o.Interceptors = append(o.Interceptors, tracing)
	}
	return func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := provider.Shutdown(last); err != nil {
			log.Warn("the last spans were not sent", "collector", collector, "error", err)
		}
	}, nil
}
