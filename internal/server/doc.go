// Package server puts the running programs together from the configuration: serve, the central
// worker, a site's worker, and migrate. It is where concrete types meet the interfaces that the other
// packages declare; nothing here decides anything.
//
// Words
//
//   - Serve: the API, the pages (on loopback only), the relay that starts what was asked for, and the sealer of the audit chain. It
//     owns PostgreSQL.
//   - Worker, central: queue "central": all workflows, and what touches PostgreSQL and NetBox.
//   - Worker of a site: queue "site-<slug>": what touches BMCs, and the files that BMCs fetch. It knows
//     Temporal and the API only: passwords, firmware and heartbeats go through the API with its token.
//   - Dialer: the connection to Temporal, made in the background.
//
// Each function runs until its context ends and then returns nil, having closed what it opened. An
// error says what it cannot go on without. Temporal may be away, also at the start: it is waited for,
// and the log says so.
package server
