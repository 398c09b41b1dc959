// Package migrations holds the SQL that makes Cagenut's tables, one numbered file a step. A file
// that has landed is never edited: internal/postgres keeps each one's SHA-256 in the database and
// refuses to go on when it differs. A file runs in one transaction.
package migrations

import "embed"

// Files are the migrations, NNNN_name.sql.
//
//go:embed *.sql
var Files embed.FS
