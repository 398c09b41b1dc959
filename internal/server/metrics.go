package server

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/bmc/broker"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/inventory/netbox"
)

// Metrics are Prometheus metrics. Every method works on nil, and then measures nothing.
type Metrics struct {
	registry *prometheus.Registry
	steps    *prometheus.CounterVec
	stepTime *prometheus.HistogramVec
	parked   *prometheus.CounterVec
	bmcTime  *prometheus.HistogramVec
	nbTime   *prometheus.HistogramVec
	apiTime  *prometheus.HistogramVec
	queueLag *prometheus.HistogramVec
	actTime  *prometheus.HistogramVec
}

// NewMetrics makes them, with those of the process and of Go.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "cagenut_steps_total",
			Help: "Steps that a run has left behind, or that parked, by outcome."}, []string{"step", "outcome", "vendor"}),
		stepTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "cagenut_step_seconds",
			Help: "Time from the beginning of an attempt at a step to its end, pauses included.", Buckets: prometheus.ExponentialBuckets(0.1, 3, 10)},
			[]string{"step", "outcome", "vendor"}),
		parked: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "cagenut_faults_total",
			Help: "Failures that parked a run, by code."}, []string{"step", "code", "vendor"}),
		bmcTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "cagenut_bmc_request_seconds",
			Help: "Answers of BMCs, by class of resource.", Buckets: prometheus.ExponentialBuckets(0.01, 2.5, 10)}, []string{"site", "method", "class", "status"}),
		nbTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "cagenut_netbox_request_seconds",
			Help: "Answers of NetBox.", Buckets: prometheus.ExponentialBuckets(0.01, 2.5, 10)}, []string{"method", "status"}),
		apiTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "cagenut_api_request_seconds",
			Help: "Answers of the API.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 8)}, []string{"route", "status"}),
		queueLag: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "cagenut_queue_lag_seconds",
			Help: "Time that an activity lay in its queue.", Buckets: prometheus.ExponentialBuckets(0.005, 4, 8)}, []string{"queue"}),
		actTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "cagenut_activity_seconds",
			Help: "Time that an activity ran.", Buckets: prometheus.ExponentialBuckets(0.005, 4, 9)}, []string{"queue", "activity", "outcome"}),
	}
	m.registry.MustRegister(m.steps, m.stepTime, m.parked, m.bmcTime, m.nbTime, m.apiTime, m.queueLag, m.actTime,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves them; nil when there are none.
func (m *Metrics) Handler() http.Handler {
	if m == nil {
		return nil
	}
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func (m *Metrics) api() func(string, int, time.Duration) {
	if m == nil {
		return nil
	}
	return func(route string, status int, took time.Duration) {
		m.apiTime.WithLabelValues(route, strconv.Itoa(status)).Observe(took.Seconds())
	}
}

func (m *Metrics) netbox() func(netbox.Request) {
	if m == nil {
		return nil
	}
	return func(r netbox.Request) {
		m.nbTime.WithLabelValues(r.Method, strconv.Itoa(r.Status)).Observe(r.Took.Seconds())
	}
}

func (m *Metrics) bmc(site string) func(broker.Observation) {
	if m == nil {
		return nil
	}
	return func(o broker.Observation) {
		m.bmcTime.WithLabelValues(site, o.Method, o.Class, strconv.Itoa(o.Status)).Observe(o.Duration.Seconds())
	}
}

// store counts the steps of what is recorded.
func (m *Metrics) store(s activities.Store) activities.Store {
	if m == nil {
		return s
	}
	return meteredStore{s, m}
}

type meteredStore struct {
	activities.Store
	m *Metrics
}

func (s meteredStore) Record(ctx context.Context, t operation.Transition) error {
	err := s.Store.Record(ctx, t)
	if err != nil {
		return err
	}
	vendor := t.Vendor
	if vendor == "" {
		vendor = "unknown"
	}
	for _, c := range t.Steps {
		if c.State.Ended() || c.State == operation.StepParked && c.Took > 0 { // evidence comes to a parked step later
			s.m.steps.WithLabelValues(c.Step, string(c.State), vendor).Inc()
			if c.Took > 0 {
				s.m.stepTime.WithLabelValues(c.Step, string(c.State), vendor).Observe(c.Took.Seconds())
			}
		}
		if c.State == operation.StepParked && c.Took > 0 && c.Error != nil {
			s.m.parked.WithLabelValues(c.Step, string(c.Error.Code), vendor).Inc()
		}
	}
	return nil
}

// worker measures activities and how long they lay in the queue.
func (m *Metrics) worker(queue string) interceptor.WorkerInterceptor {
	return &workerMeter{m: m, queue: queue}
}

type workerMeter struct {
	interceptor.WorkerInterceptorBase
	m     *Metrics
	queue string
}

func (w *workerMeter) InterceptActivity(ctx context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	i := &activityMeter{workerMeter: w}
	i.Next = next
	return i
}

type activityMeter struct {
	interceptor.ActivityInboundInterceptorBase
	*workerMeter
}

func (a *activityMeter) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	if a.m == nil {
		return a.Next.ExecuteActivity(ctx, in)
	}
	info := activity.GetInfo(ctx)
	began := time.Now()
	if !info.ScheduledTime.IsZero() && !info.IsLocalActivity {
		a.m.queueLag.WithLabelValues(a.queue).Observe(max(0, began.Sub(info.ScheduledTime).Seconds()))
	}
	out, err := a.Next.ExecuteActivity(ctx, in)
	outcome := "ok"
	if f, ours := operation.FaultOf(err); ours {
		outcome = string(f.Code)
	} else if err != nil {
		outcome = "error"
	}
	a.m.actTime.WithLabelValues(a.queue, info.ActivityType.Name, outcome).Observe(time.Since(began).Seconds())
	return out, err
}
