// Package postgres downloads PostgreSQL as cagenut-dev does on a machine that has none. Its test needs
// the build tag e2e, and the network.
package postgres
