// Package temporaldev runs a whole Temporal server inside this process, for development and tests:
// frontend, history, matching and worker on four loopback ports.
//
// Words
//
//   - Store: an SQLite file (the default: WAL, synchronous=NORMAL, which survives a kill of the
//     process) or two PostgreSQL databases, one of them for visibility.
//   - Namespace: operation.Namespace with our search attributes. It is there when Start returns.
//
// A Server is started and stopped once. Several in one process are possible, each with its own store
// and ports; one store must never serve two at once. The server's own library ends the whole process
// when a port is taken, so ports are tried before it is started.
//
// This package links some 150 MB: only cmd/cagenut-dev and its own tests may import it.
package temporaldev

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/membership/static"
	"go.temporal.io/server/common/primitives"
	"go.temporal.io/server/temporal"

	"github.com/cagenut/cagenut/internal/operation"
)

const host = "127.0.0.1"

// services are the parts of a server, in the order of their ports.
var services = []primitives.ServiceName{
	primitives.FrontendService, primitives.HistoryService, primitives.MatchingService, primitives.WorkerService,
}

// Options say what to run. Exactly one of File and Postgres is set.
type Options struct {
	File     string    // SQLite file; made when missing
	Postgres *Postgres // or databases, made when missing
	// Ports are those of frontend, history, matching and worker; zero: free ones are found. A restart
	// on other ports is no trouble.
	Ports [4]int
	// Namespace is operation.Namespace where empty.
	Namespace string
	Retention time.Duration // of ended workflows; 0: operation.Retention
	LogLevel  string        // of the server's own log; empty: error
	LogFile   string        // to which that log is appended; empty: stderr
}

// Server is a running Temporal server.
type Server struct {
	inner     temporal.Server
	address   string
	namespace string
}

// Address is the frontend's host:port.
func (s *Server) Address() string { return s.address }

// Namespace is the namespace that was made.
func (s *Server) Namespace() string { return s.namespace }

// Stop stops the server and waits for it.
func (s *Server) Stop() error { return s.inner.Stop() }

// Start starts a server and returns when its namespace can be used: well under a second on SQLite.
func Start(ctx context.Context, o Options) (*Server, error) {
	if (o.File == "") == (o.Postgres == nil) {
		return nil, errors.New("temporaldev: give either a file or PostgreSQL")
	}
	if o.Namespace == "" {
		o.Namespace = operation.Namespace
	}
	if o.Retention == 0 {
		o.Retention = operation.Retention
	}
	if o.LogLevel == "" {
		o.LogLevel = "error"
	}
	logger := log.NewZapLogger(log.BuildZapLogger(log.Config{Level: o.LogLevel, OutputFile: o.LogFile}))
	stores, err := o.prepare(logger)
	if err != nil {
		return nil, err
	}
	ports, err := choosePorts(ctx, o.Ports)
	if err != nil {
		return nil, err
	}
	inner, err := build(stores, ports, logger)
	if err != nil {
		return nil, fmt.Errorf("temporaldev: build the server: %w", err)
	}
	if err := inner.Start(); err != nil {
		return nil, fmt.Errorf("temporaldev: start the server: %w", err)
	}
	s := &Server{inner: inner, address: join(ports[0]), namespace: o.Namespace}
	if err := s.ready(ctx, o); err != nil {
		return nil, errors.Join(err, inner.Stop())
	}
	return s, nil
}

// build wires the server as its own binary does, on fixed loopback ports and without a cluster.
func build(stores stores, ports [4]int, logger log.Logger) (temporal.Server, error) {
	cfg := &config.Config{Services: map[string]config.Service{}}
	cfg.Global.Membership.MaxJoinDuration = 30 * time.Second
	cfg.Global.Membership.BroadcastAddress = host
	cfg.Persistence = config.Persistence{
		DefaultStore: "main", VisibilityStore: "visibility",
		NumHistoryShards: shards,
		DataStores:       map[string]config.DataStore{"main": {SQL: stores.main}, "visibility": {SQL: stores.visibility}},
	}
	cfg.ClusterMetadata = &cluster.Config{
		FailoverVersionIncrement: 10, MasterClusterName: clusterName, CurrentClusterName: clusterName,
		ClusterInformation: map[string]cluster.ClusterInformation{
			clusterName: {Enabled: true, InitialFailoverVersion: 1, RPCAddress: join(ports[0])},
		},
	}
	cfg.DCRedirectionPolicy.Policy = "noop"
	cfg.Archival.History.State, cfg.Archival.Visibility.State = "disabled", "disabled"
	cfg.NamespaceDefaults.Archival.History.State, cfg.NamespaceDefaults.Archival.Visibility.State = "disabled", "disabled"
	cfg.PublicClient.HostPort = join(ports[0])
	hosts := map[primitives.ServiceName]static.Hosts{}
	for i, name := range services {
		cfg.Services[string(name)] = config.Service{RPC: config.RPC{GRPCPort: ports[i], BindOnIP: host}}
		hosts[name] = static.SingleLocalHost(join(ports[i]))
	}
	authorizer, err := authorization.GetAuthorizerFromConfig(&cfg.Global.Authorization)
	if err != nil {
		return nil, err
	}
	claims, err := authorization.GetClaimMapperFromConfig(&cfg.Global.Authorization, logger)
	if err != nil {
		return nil, err
	}
	return temporal.NewServer(
		temporal.WithConfig(cfg), temporal.ForServices(temporal.DefaultServices), temporal.WithStaticHosts(hosts),
		temporal.WithLogger(logger), temporal.WithAuthorizer(authorizer),
		temporal.WithClaimMapper(func(*config.Config) authorization.ClaimMapper { return claims }),
		// New namespaces and search attributes reach the server's parts through this cache.
		temporal.WithDynamicConfigClient(dynamicconfig.StaticClient{
			dynamicconfig.MakeKey("system.namespaceCacheRefreshInterval"): 500 * time.Millisecond,
		}),
	)
}

// ready makes the namespace where the store could not, and waits until it can be used.
func (s *Server) ready(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	connection := operation.Connection{Address: s.address, Namespace: o.Namespace, Options: func(c *client.Options) { c.Logger = quiet{} }}
	if err := operation.EnsureNamespace(ctx, connection, o.Retention); err != nil {
		return fmt.Errorf("temporaldev: namespace %s: %w", o.Namespace, err)
	}
	return nil
}

// quiet is a logger for the short-lived clients that wait for the server.
type quiet struct{}

func (quiet) Debug(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Warn(string, ...any)  {}
func (quiet) Error(string, ...any) {}

func join(port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// choosePorts keeps the ports that were asked for, finds free ones for the others, and makes sure
// that all can be listened on.
func choosePorts(ctx context.Context, want [4]int) ([4]int, error) {
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			_ = l.Close()
		}
	}()
	got := want
	for i, port := range want { // all at once, so that no port is found twice
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", join(port))
		if err != nil {
			return got, fmt.Errorf("temporaldev: port %d for %s is taken; choose another or stop what uses it: %w", port, services[i], err)
		}
		listeners = append(listeners, l)
		addr, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			return got, fmt.Errorf("temporaldev: listening on %s gave address %v", join(port), l.Addr())
		}
		got[i] = addr.Port
	}
	return got, nil
}
