// Package broker carries all HTTP requests to a BMC. BMCs are fragile: they serve a handful of
// sessions and lock people out when those leak, lock accounts after a few wrong passwords, and stall
// when too many requests arrive together. So everything in this process that talks Redfish to one
// BMC goes through that BMC's one broker.
//
// Words
//
//   - Pool: the brokers of a worker, one for each BMC address.
//   - Conn: one login on one BMC. Conns to the same BMC share its broker: the cap on requests in
//     flight, the login budget, the circuit breaker and the count of sessions.
//   - Session: a Redfish session (DSP0266 13.3.4). A Conn opens one and keeps it, logs in again once
//     when the BMC forgets it, and uses Basic authentication where a service has no sessions.
//   - Journal: a file for each BMC in the state folder. It is written before a session is asked for
//     and again when its URI is known, so that the next start can log out what a crash left behind.
//   - Guard: the login budget and the circuit breaker.
//
// There are never more than two sessions of ours on a BMC: the kept one, and one more while an old
// one is being given back or a new password is being tried.
//
// A GET is sent again only where it certainly does no harm: after a connection reset, and after 503
// with a short Retry-After. A write is sent once; it is repeated only after 401, which says that
// it was not carried out.
//
// Everything here is safe for concurrent use. Every call ends when its context does, and at the
// latest after Limits.Total. Errors are of type *bmc.Error and never hold a password or a token.
package broker
