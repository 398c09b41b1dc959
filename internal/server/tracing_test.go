package server

import (
	"context"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"google.golang.org/grpc"

	"github.com/cagenut/cagenut/internal/operation"
)

// spans is a collector that keeps the names of what it is sent.
type spans struct {
	collector.UnimplementedTraceServiceServer
	names chan string
}

func (s *spans) Export(_ context.Context, in *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	for _, r := range in.ResourceSpans {
		for _, scope := range r.ScopeSpans {
			for _, span := range scope.Spans {
				s.names <- span.Name
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func TestSpansReachTheCollector(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := &spans{names: make(chan string, 10)}
	srv := grpc.NewServer()
	collector.RegisterTraceServiceServer(srv, got)
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(srv.Stop)

	var conn operation.Connection
	stop, err := traceConnection(t.Context(), &conn, l.Addr().String(), "test", slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	var o client.Options
	conn.Options(&o)
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{o.Interceptors[0].(interceptor.WorkerInterceptor)}})
	env.RegisterActivityWithOptions(func(context.Context) error { return nil }, activity.RegisterOptions{Name: "step"})
	if _, err := env.ExecuteActivity("step"); err != nil {
		t.Fatal(err)
	}
	stop()
	select {
	case name := <-got.names:
		if name != "RunActivity:step" {
			t.Errorf("span %q", name)
		}
	case <-time.After(5 * time.Second):
		t.Error("no span within 5 s")
	}
}

func TestNoCollectorNoTracing(t *testing.T) {
	var conn operation.Connection
	stop, err := traceConnection(t.Context(), &conn, "", "test", nil)
	if err != nil || conn.Options != nil {
		t.Errorf("options set: %v, error %v", conn.Options != nil, err)
	}
	stop()
}
